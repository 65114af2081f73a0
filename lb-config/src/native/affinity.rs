//! `[service.affinity]`: what makes a client stick to a backend.

use std::time::Duration;

use lb_core::config::{AffinityConfig, CookieConfig, CookieValue, SameSite, Secret};

use crate::read::{Mistake, Table, Value};

/// Browsers keep a cookie for 400 days at most (RFC 6265bis §5.5).
const MAX_AGE_MAX: Duration = Duration::from_secs(400 * 24 * 3600);
/// Shorter secrets could be guessed.
const SECRET_MIN: usize = 16;

pub(super) fn affinity(mut table: Table<'_>) -> Option<AffinityConfig> {
    let by_cookie = table.choice("by", &[("none", false), ("cookie", true)]).or(false);
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
    let strict = table.boolean("strict").or(false);
    if same_site.value == SameSite::None && !secure.value {
        let what = "same_site \"none\" without secure: browsers refuse such a cookie";
        table.report().error(same_site.at, what, "add secure = true and serve over TLS");
    }
    if !by_cookie {
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
            "strict",
        ];
        table.warn_without_effect(&others, "without by = \"cookie\"");
    } else if value != CookieValue::Opaque {
        let why = "with a value in clear: there is nothing to hide";
        table.warn_without_effect(&["secret"], why);
    }
    let cookie = CookieConfig {
        name,
        value,
        key,
        max_age,
        path,
        secure: secure.value,
        http_only,
        same_site: same_site.value,
        always,
    };
    by_cookie.then_some(AffinityConfig { cookie, strict })
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
