//! What comes before HTTP: headers of the PROXY protocol, and handshakes.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::super::metrics::Process;
use super::counters;
use crate::tls::Why;

pub(super) fn encode(process: &Process, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    counters(
        to,
        "lb_proxy_protocol_refused",
        "Connections to listeners with proxy_protocol that had no header that could be believed",
        |out| out.counter(&Vec::new(), &process.proxies_refused),
    )?;
    counters(to, "lb_tls_handshakes", "Handshakes of TLS with clients", |out| {
        out.counter(&Vec::new(), &process.handshakes)
    })?;
    counters(
        to,
        "lb_tls_handshakes_resumed",
        "Handshakes of TLS with clients in which an earlier session went on",
        |out| out.counter(&Vec::new(), &process.handshakes_resumed),
    )?;
    counters(
        to,
        "lb_tls_handshakes_failed",
        "Handshakes of TLS with clients that failed, by why",
        |out| {
            out.counter(&vec![("why", "late")], &process.handshakes_late)?;
            let by_why = Why::ALL.iter().zip(&process.handshakes_failed);
            by_why
                .into_iter()
                .try_for_each(|(why, count)| out.counter(&vec![("why", why.as_str())], count))
        },
    )
}
