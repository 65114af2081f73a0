//! `[listener.tls]` and `[service.tls]`: who proves what to whom.
//!
//! Files are named here and read by the server: whether one exists, and what is in it, is not a
//! question of what was asked for.

use std::path::PathBuf;
use std::time::Duration;

use crate::address;
use crate::config::{
    Alpn, ClientAuth, ClientAuthMode, Http2, KeyPair, ListenerTls, Origin, ServiceTls, TlsVersion,
};
use crate::native::DURATIONS;
use crate::read::{Given, Mistake, Table, Value};

/// Each is some KiB and a few hundred microseconds of every start and reload.
const CERTIFICATES_MAX: usize = 10_000;
/// The system's own bound (PATH_MAX).
const PATH_BYTES_MAX: usize = 4_096;
/// A client that needs longer than this for two round trips is not on its way.
const HANDSHAKE: Duration = Duration::from_secs(10);

const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
const ALPNS: [(&str, Alpn); 2] = [("h2", Alpn::Http2), ("http/1.1", Alpn::Http1)];
const CERT: &str = "cert = \"lb.pem\"";
const KEY: &str = "key = \"lb.key\"";

/// TLS with clients; `None` if the table is absent or has no certificates.
pub(super) fn listener(mut table: Table<'_>, http2: Http2) -> Option<ListenerTls> {
    let certificates = table.list("certificates", |item| key_pair(&item));
    let min_version = table.choice("min_version", &VERSIONS).or(TlsVersion::V1_2);
    let usual = if http2.enabled { vec![Alpn::Http2, Alpn::Http1] } else { vec![Alpn::Http1] };
    let alpn = table.field("alpn", |value| alpn(&value, http2)).or(usual);
    let handshake_timeout = table.duration("handshake_timeout", DURATIONS).or(HANDSHAKE);
    let client_auth = table.field("client_auth", |value| client_auth(value.table()?)).given();
    let session_tickets = table.boolean("session_tickets").or(true);
    if !table.said() {
        return None;
    }
    let certificates = certificates.required(&format!("certificates = [{{ {CERT}, {KEY} }}]"))?;
    let count = certificates.value.len();
    if !(1..=CERTIFICATES_MAX).contains(&count) {
        let what = match count {
            0 => "certificates is empty".to_owned(),
            _ => format!("there are {count} certificates"),
        };
        table.report().error(certificates.at, what, format!("use 1..={CERTIFICATES_MAX}"));
    }
    Some(ListenerTls {
        certificates: certificates.value,
        min_version,
        alpn,
        handshake_timeout,
        client_auth: client_auth.map(|auth| auth.value),
        session_tickets,
    })
}

/// TLS with backends.
pub(super) fn service(mut table: Table<'_>, origins: &[Origin]) -> ServiceTls {
    let report = table.report();
    let ca = table.parsed("ca", path).given();
    let cert = table.parsed("cert", path).given();
    let key = table.parsed("key", path).given();
    let server_name = table.parsed("server_name", server_name).given();
    let min_version = table.choice("min_version", &VERSIONS).or(TlsVersion::V1_2);
    let insecure = table.boolean("insecure_skip_verify").or_given(false);

    let alone = |given: &Given<PathBuf>, what: &str, remedy: &str| {
        report.error(given.at, what, format!("add {remedy}, or remove it"));
    };
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some(KeyPair { cert: cert.value, key: key.value }),
        (Some(cert), None) => {
            alone(&cert, "cert is given without its key", KEY);
            None
        }
        (None, Some(key)) => {
            alone(&key, "key is given without its certificate", CERT);
            None
        }
        (None, None) => None,
    };
    if !origins.is_empty() && !origins.iter().any(|origin| origin.tls) {
        let keys = ["ca", "cert", "key", "server_name", "min_version", "insecure_skip_verify"];
        table.warn_without_effect(&keys, "without a backend that has an https:// url");
    } else if insecure.value {
        let what = "insecure_skip_verify = true: anybody on the way can pose as the backend";
        report.warn(insecure.at, what, "name the certificate that vouches for it in ca instead");
        let why = "with insecure_skip_verify = true: no certificate is checked";
        table.warn_without_effect(&["ca"], why);
    }
    ServiceTls {
        ca: ca.map(|ca| ca.value),
        identity,
        server_name: server_name.map(|name| name.value),
        min_version,
        insecure_skip_verify: insecure.value,
    }
}

fn key_pair(item: &Value<'_>) -> Option<KeyPair> {
    if item.is_text() {
        let remedy = format!("write {{ {CERT}, {KEY} }}");
        item.wrong(&Mistake::new("is a text and not a table", remedy));
        return None;
    }
    let mut table = item.item_table()?;
    let cert = table.parsed("cert", path).required(CERT);
    let key = table.parsed("key", path).required(KEY);
    Some(KeyPair { cert: cert?.value, key: key?.value })
}

fn client_auth(mut table: Table<'_>) -> Option<ClientAuth> {
    let modes = [("optional", ClientAuthMode::Optional), ("required", ClientAuthMode::Required)];
    let mode = table.choice("mode", &modes).required("mode = \"required\"");
    let ca = table.parsed("ca", path).required("ca = \"clients.pem\"");
    Some(ClientAuth { mode: mode?.value, ca: ca?.value })
}

/// Each at most once: what is welcome twice is a slip of the pen.
fn alpn(value: &Value<'_>, http2: Http2) -> Option<Vec<Alpn>> {
    let mut seen = Vec::with_capacity(ALPNS.len());
    value.list(|item| {
        let spoken = item.choice(&ALPNS)?;
        if seen.contains(&spoken) {
            item.wrong(&Mistake::new("is there already", "remove one of the two"));
            return None;
        }
        if spoken == Alpn::Http2 && !http2.enabled {
            let what = "is not spoken: [server.http2] has enabled = false";
            item.wrong(&Mistake::new(what, "remove one of the two"));
            return None;
        }
        seen.push(spoken);
        Some(spoken)
    })
}

fn path(text: &str) -> Result<PathBuf, Mistake> {
    match (1..=PATH_BYTES_MAX).contains(&text.len()) && !text.contains('\0') {
        true => Ok(PathBuf::from(text)),
        false => Err(Mistake::new("is not the path of a file", format!("write one, as in {CERT}"))),
    }
}

/// A name, or an address without the brackets that it has in a url.
fn server_name(text: &str) -> Result<String, Mistake> {
    let host = address::plain_host(text)?;
    Ok(host.trim_matches(['[', ']']).to_owned())
}
