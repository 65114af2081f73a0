//! Hosts, backend urls and addresses to listen at, as text.
//!
//! ```
//! use lb_config::address::{backend_url, service_host};
//!
//! let backend = backend_url("HTTP://API.internal/").expect("a host and nothing else");
//! assert_eq!(backend.identity, "http://api.internal:80");
//! assert_eq!(service_host("*.Example.com").as_deref(), Ok("*.example.com"));
//! assert!(service_host("example.com:80").is_err());
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Origin;
use crate::read::Mistake;

/// A backend's url, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendUrl {
    /// The same for all ways to write the same url: `http://host:port` or `https://host:port`,
    /// lower case.
    pub identity: String,
    /// Where that is.
    pub origin: Origin,
}

/// Reads an address to listen at, such as `0.0.0.0:8080`.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn bind(text: &str) -> Result<SocketAddr, Mistake> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let suggest =
        |what: &str, address: String| Err(Mistake::new(what, format!("write {address:?}")));
    if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        return suggest("has no port", SocketAddr::new(ip, 8080).to_string());
    }
    match text.rsplit_once(':') {
        Some(("", port)) if port.parse::<u16>().is_ok() => {
            suggest("has no address", format!("0.0.0.0:{port}"))
        }
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
            suggest("is a name and not an address", format!("127.0.0.1:{port}"))
        }
        _ => Err(Mistake::new(
            "is not an address with a port",
            "write one such as \"0.0.0.0:8080\" or \"[::]:8080\"",
        )),
    }
}

/// Reads what a service may be asked for as: `*`, `*.example.com`, a host name or an IP address.
/// Returns it in lower case; an IPv6 address comes with the brackets it has in a `Host` header.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn service_host(text: &str) -> Result<String, Mistake> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    if let Some(parent) = text.strip_prefix("*.") {
        return match host(parent)? {
            Host::Name(name) => Ok(format!("*.{name}")),
            Host::V4(_) | Host::V6(_) => {
                Err(Mistake::new("is a wildcard over an address", "write \"*\" or a whole address"))
            }
        };
    }
    if text.contains('*') {
        let remedy = "write \"*\" for any host or \"*.example.com\" for those below one";
        return Err(Mistake::new("has a * that is not its whole first label", remedy));
    }
    Ok(match host(text)? {
        Host::Name(name) => name,
        Host::V4(ip) => ip.to_string(),
        Host::V6(ip) => format!("[{ip}]"),
    })
}

/// Reads a host without wildcards, and gives it in lower case.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn plain_host(text: &str) -> Result<String, Mistake> {
    if text.contains('*') {
        return Err(Mistake::new("has a *", "write each name in full"));
    }
    service_host(text)
}

/// Reads a backend's url: `http://` or `https://`, a host, and perhaps a port.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn backend_url(text: &str) -> Result<BackendUrl, Mistake> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Mistake::new("has no scheme", "begin with http:// or https://"));
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(Mistake::new("has an unknown scheme", "use http:// or https://")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(end) = authority.find(['/', '?', '#']) {
        let root = format!("{scheme}://{}", &authority[..end]);
        return Err(Mistake::new("has more than a host and a port", format!("write {root:?}")));
    }
    if let Some((_, after)) = authority.rsplit_once('@') {
        let remedy = format!("write {:?}", format!("{scheme}://{after}"));
        return Err(Mistake::new("has a user name, which backends are not sent", remedy));
    }
    let (host_text, port) = split_port(authority)?;
    let in_url =
        |wrong: Mistake| Mistake::new(format!("has a host that {}", wrong.what), wrong.remedy);
    let host = host(host_text).map_err(in_url)?;
    let (host, shown) = match host {
        Host::Name(name) => (name.clone(), name),
        Host::V4(ip) => (ip.to_string(), ip.to_string()),
        Host::V6(ip) => (ip.to_string(), format!("[{ip}]")),
    };
    let (scheme, usual_port) = if tls { ("https", 443) } else { ("http", 80) };
    let port = port.unwrap_or(usual_port);
    let identity = format!("{scheme}://{shown}:{port}");
    Ok(BackendUrl { identity, origin: Origin { host, port, tls } })
}

/// `host:port` or `[address]:port`; the port may be absent.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), Mistake> {
    let host_end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if port.matches(':').count() > 1 {
        return Err(Mistake::new(
            "has several colons",
            "put an IPv6 address in brackets, as in \"http://[::1]:80\"",
        ));
    }
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').unwrap_or_default();
    match digits.parse() {
        Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok((host, Some(port)))
        }
        _ => Err(Mistake::new(
            "has a port that is not a number in 1..=65535",
            "write one, as in \"http://host:3000\"",
        )),
    }
}

enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// A host name (RFC 1123 §2.1, and `_`, which many internal names have) or an address, brackets
/// optional around IPv6.
fn host(text: &str) -> Result<Host, Mistake> {
    if let Ok(ip) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text).parse()
    {
        return Ok(Host::V6(ip));
    }
    if let Ok(ip) = text.parse() {
        return Ok(Host::V4(ip));
    }
    if text.is_empty() {
        return Err(Mistake::new("is empty", "write a host name or an address"));
    }
    if text.contains("://") {
        return Err(Mistake::new("is a url and not a host", "write the host alone"));
    }
    if let Some((before, after)) = text.rsplit_once(':')
        && after.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Mistake::new(
            "has a port",
            format!("write {before:?}: a service is found by host alone"),
        ));
    }
    if !text.is_ascii() {
        return Err(Mistake::new("has letters beyond ASCII", "write its punycode form, xn--.."));
    }
    if let Some(name) = text.strip_suffix('.') {
        return Err(Mistake::new("ends in a dot", format!("write {name:?}")));
    }
    name(text)
}

fn name(text: &str) -> Result<Host, Mistake> {
    const NAME_MAX: usize = 253;
    const LABEL_MAX: usize = 63;
    let rule = "use labels of a-z, 0-9, - and _ with dots between, none empty or longer than 63";
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if text.len() > NAME_MAX || !text.split('.').all(good) {
        return Err(Mistake::new("is not a host name", rule));
    }
    // No top-level domain is a number, so this was meant to be an address.
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Mistake::new("is not an IPv4 address", "write four numbers in 0..=255"));
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}
