//! `[service.affinity]`: what makes a client stick to a backend.

use std::time::Duration;

use lb_core::config::{
    AffinityConfig, CookieConfig, CookieValue, KEY_SOURCES_MAX, SameSite, Secret, StickBy,
    StickConfig,
};

use crate::native::DURATIONS;
use crate::native::balance::source;
use crate::read::{Mistake, Table, Value};

/// Browsers keep a cookie for 400 days at most (RFC 6265bis §5.5).
const MAX_AGE_MAX: Duration = Duration::from_secs(400 * 24 * 3600);
/// Shorter secrets could be guessed.
const SECRET_MIN: usize = 16;

pub(super) fn affinity(mut table: Table<'_>) -> Option<AffinityConfig> {
    let words = [("none", By::Nothing), ("cookie", By::Cookie), ("key", By::Key)];
    let by = table.choice("by", &words).or(By::Nothing);
    let cookie = cookie(&mut table, by);
    let default = StickConfig::default();
    let key = table.list("key", |item| item.parsed(source)).or_given(default.key);
    let ttl = table.duration("ttl", DURATIONS).or(default.ttl);
    let strict = table.boolean("strict").or(false);
    if !(1..=KEY_SOURCES_MAX).contains(&key.value.len()) {
        let what = format!("key has {} sources", key.value.len());
        table.report().error(key.at, what, format!("use 1..={KEY_SOURCES_MAX}"));
    }
    if by != By::Key {
        table.warn_without_effect(&["key", "ttl"], "without by = \"key\"");
    }
    if by == By::Nothing {
        table.warn_without_effect(&["strict"], "without by = \"cookie\" or \"key\"");
    }
    let by = match by {
        By::Nothing => return None,
        By::Cookie => StickBy::Cookie(cookie),
        By::Key => StickBy::Key(StickConfig { key: key.value, ttl }),
    };
    Some(AffinityConfig { by, strict })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Nothing,
    Cookie,
    Key,
}

fn cookie(table: &mut Table<'_>, by: By) -> CookieConfig {
    let default = CookieConfig::default();
    let name = table.parsed("cookie", cookie_name).or(default.name);
    let values = [
        ("opaque", CookieValue::Opaque),
        ("backend", CookieValue::Name),
        ("hostname", CookieValue::Hostname),
    ];
    let value = table.choice("value", &values).or(default.value);
    let key = table.field("secret", |value| secret(&value)).given().map(|secret| secret.value);
    let max_age = table.duration("max_age", Duration::from_secs(1)..=MAX_AGE_MAX);
    let max_age = max_age.given().map(|age| age.value);
    let path = table.parsed("path", path).or(default.path);
    let secure = table.boolean("secure").or_given(default.secure);
    let http_only = table.boolean("http_only").or(default.http_only);
    let sites = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
    let same_site = table.choice("same_site", &sites).or_given(default.same_site);
    let always = table.boolean("always").or(default.always);
    if same_site.value == SameSite::None && !secure.value {
        let what = "same_site \"none\" without secure: browsers refuse such a cookie";
        table.report().error(same_site.at, what, "add secure = true and serve over TLS");
    }
    if by != By::Cookie {
        let others = [
            "cookie",
            "value",
            "secret",
            "max_age",
            "path",
            "secure",
            "http_only",
            "same_site",
            "always",
        ];
        table.warn_without_effect(&others, "without by = \"cookie\"");
    } else if value != CookieValue::Opaque {
        let why = "with a value in clear: there is nothing to hide";
        table.warn_without_effect(&["secret"], why);
    }
    CookieConfig {
        name,
        value,
        key,
        max_age,
        path,
        secure: secure.value,
        http_only,
        same_site: same_site.value,
        always,
    }
}

/// A token (RFC 6265 §4.1.1, RFC 9110 §5.6.2).
fn cookie_name(text: &str) -> Result<String, Mistake> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match (1..=64).contains(&text.len()) && text.bytes().all(good) {
        true => Ok(text.to_owned()),
        false => Err(Mistake::new("is no name of a cookie", "use 1..=64 of a-z, 0-9, - and _")),
    }
}

fn path(text: &str) -> Result<String, Mistake> {
    let good = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    match text.starts_with('/') && text.len() <= 1_024 && text.bytes().all(good) {
        true => Ok(text.to_owned()),
        false => {
            Err(Mistake::new("is no path of a cookie", "begin with / and leave out ; and spaces"))
        }
    }
}

/// Complaints about it do not repeat it.
fn secret(value: &Value<'_>) -> Option<Secret> {
    let text = value.text()?;
    if text.len() < SECRET_MIN {
        let remedy = format!("use at least {SECRET_MIN} bytes, as from: openssl rand -hex 32");
        value.report().error(value.at(), "secret is too short to be one", remedy);
        return None;
    }
    Some(Secret::new(text.as_bytes()))
}
