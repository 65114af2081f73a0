//! Whose word on where a request comes from counts, and how backends are told.

use lb_core::{Cidr, NoCidr};

use crate::config::{ClientAddress, Protocol, ProxyProtocol, Trust};
use crate::diagnostic::Report;
use crate::native::Door;
use crate::read::{Mistake, Table};

/// Ranges are compared with one after the other, for each hop of each request.
const PROXIES_MAX: usize = 256;

/// Reads the part of `[server]` that says whom to believe.
pub(super) fn trust(server: &mut Table<'_>) -> Trust {
    let proxies = server.list("trusted_proxies", |item| item.parsed(range)).or_given(Vec::new());
    if proxies.value.len() > PROXIES_MAX {
        let what = format!("trusted_proxies has {} ranges", proxies.value.len());
        server.report().error(proxies.at, what, format!("use at most {PROXIES_MAX}"));
    }
    let words = [
        ("x-forwarded-for", ClientAddress::XForwardedFor),
        ("forwarded", ClientAddress::Forwarded),
        ("cf-connecting-ip", ClientAddress::CfConnectingIp),
        ("x-real-ip", ClientAddress::XRealIp),
        ("true-client-ip", ClientAddress::TrueClientIp),
    ];
    let client_address = server.choice("client_address", &words).or(ClientAddress::default());
    if proxies.value.is_empty() {
        let why = "without trusted_proxies: nobody is believed";
        server.warn_without_effect(&["client_address"], why);
    }
    Trust { proxies: proxies.value, client_address }
}

/// Reads `10.0.0.0/8`, or a single address.
fn range(text: &str) -> Result<Cidr, Mistake> {
    text.parse().map_err(|wrong: NoCidr| {
        let remedy = match wrong {
            NoCidr::Address => "write one such as \"10.0.0.0/8\" or \"2001:db8::/32\"",
            NoCidr::Bits => "use 0..=32 for IPv4 and 0..=128 for IPv6",
            NoCidr::Beyond => "set the bits behind the prefix to zero, or lengthen it",
        };
        Mistake::new(wrong.to_string(), remedy)
    })
}

/// A listener that nobody may speak to would be a mistake that shows only in production.
pub(super) fn require_proxies(report: &Report<'_>, listeners: &[Door], trust: &Trust) {
    if !trust.proxies.is_empty() {
        return;
    }
    for door in listeners.iter().filter(|door| door.proxy_protocol.value) {
        let what = "proxy_protocol without trusted_proxies refuses every connection";
        let remedy = "add trusted_proxies = [\"10.0.0.0/8\"] to [server] for who may connect";
        report.error(door.proxy_protocol.at, what, remedy);
    }
}

/// Reads in which version a service's backends are told of the client.
pub(super) fn announced(service: &mut Table<'_>, protocol: Protocol) -> Option<ProxyProtocol> {
    let words = [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
    let version = service.choice("proxy_protocol", &words).given()?;
    if protocol == Protocol::Http2 {
        let what = "proxy_protocol names one client per connection, and with protocol = \"h2\" \
                    many share one";
        service.report().error(version.at, what, "remove one of the two");
    }
    Some(version.value)
}
