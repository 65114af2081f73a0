//! What a record says to whoever collects traces.

use std::time::UNIX_EPOCH;

use http::StatusCode;
use lb_core::{BodyEnd, Outcome, Time};

use super::Journal;
use crate::observe::trace::Trace;
use crate::observe::trace::span::{self, Ended, Took};

impl Journal {
    /// Hands in what is to be said of the exchange and its attempts.
    pub(super) fn trace_spans(&self, trace: &Trace) {
        let Some(asked) = &self.facts.asked else { return };
        let gateway = &self.view.gateway;
        let (now, end) = (gateway.now(), gateway.platform.unix_time());
        let at = |time: Time| end.checked_sub(now - time).unwrap_or(UNIX_EPOCH);
        let record = self.record.borrow();
        let site = self.site();
        let client = asked.caller.or(self.facts.client.map(|client| client.ip()));
        let told = span::Asked {
            method: &asked.method,
            version: asked.version,
            scheme: asked.scheme.as_str(),
            path: asked.uri.path(),
            host: &asked.host,
            client,
            user_agent: asked.user_agent.as_ref().and_then(|agent| agent.to_str().ok()),
            service: site.map(|site| site.service.name()),
        };
        let broken = record.end.filter(|end| *end != BodyEnd::Complete).map(BodyEnd::as_str);
        let ended = Ended {
            status: record.status,
            error: record.reason.or(broken),
            took: Took { start: at(self.began), end },
        };
        gateway.exporter.offer(span::of_exchange(trace, &told, &ended));
        for (number, attempt) in (0..).zip(&record.attempts) {
            let endpoint = self.view.endpoint(attempt.backend);
            let tried = span::Tried {
                method: &asked.method,
                path: asked.uri.path(),
                number,
                scheme: endpoint.scheme_name(),
                host: &endpoint.origin.host,
                port: endpoint.origin.port,
            };
            let (status, error, took) = match attempt.concluded {
                Some((Outcome::Answered(status), took)) => {
                    (StatusCode::from_u16(status).ok(), None, took)
                }
                Some((Outcome::Failed(failure), took)) => (None, Some(failure.as_str()), took),
                None => (None, Some("abandoned"), now - attempt.began),
            };
            let took = Took { start: at(attempt.began), end: at(attempt.began + took) };
            gateway.exporter.offer(span::of_attempt(trace, &tried, &Ended { status, error, took }));
        }
    }
}
