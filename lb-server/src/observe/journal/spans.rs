//! What a record says to whoever collects traces.

use std::time::UNIX_EPOCH;

use http::{StatusCode, Uri};
use lb_core::{BodyEnd, Outcome, Time};

use super::Journal;
use crate::observe::trace::Trace;
use crate::observe::trace::span::{self, At, Ended, Took};

impl Journal {
    /// Backends are asked for this.
    pub(crate) fn passes_on(&self, uri: &Uri) {
        let asked = self.facts.asked.as_ref().filter(|asked| asked.uri.path() != uri.path());
        if asked.is_some() && self.trace().is_some_and(Trace::is_sampled) {
            self.passed.get_or_init(|| uri.path().into());
        }
    }

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
        // What we answer ourselves is a failure of ours from 500 on, and else the client's, or none.
        let is_ours = record.status.is_none_or(|status| status.is_server_error());
        let reason = record.reason.filter(|_| is_ours);
        let broken = record.end.filter(|end| *end != BodyEnd::Complete).map(BodyEnd::as_str);
        let ended = Ended {
            status: record.status,
            error: reason.or(broken),
            took: Took { start: at(self.began), end },
        };
        gateway.exporter.offer(span::of_exchange(trace, &told, &ended));
        let mut resent = 0;
        for (number, attempt) in (0..).zip(&record.attempts) {
            let endpoint = self.view.endpoint(attempt.backend);
            let tried = span::Tried {
                method: &asked.method,
                path: self.passed.get().map_or(asked.uri.path(), |path| &**path),
                number,
                resent: if attempt.choice.hedge { 0 } else { resent },
                is_overtaken: attempt.is_overtaken,
                scheme: endpoint.scheme_name(),
                at: match &endpoint.origin.socket {
                    Some(socket) => At::Socket(socket),
                    None => At::Host(&endpoint.origin.host, endpoint.origin.port),
                },
            };
            resent += u32::from(!attempt.choice.hedge);
            let (status, error, took) = match attempt.concluded {
                Some((Outcome::Answered(status), took)) => {
                    (StatusCode::from_u16(status).ok(), None, took)
                }
                Some((Outcome::Failed(failure), took)) => (None, Some(failure.as_str()), took),
                None => {
                    let error = (!attempt.is_overtaken).then_some("abandoned");
                    (None, error, now - attempt.began)
                }
            };
            let took = Took { start: at(attempt.began), end: at(attempt.began + took) };
            gateway.exporter.offer(span::of_attempt(trace, &tried, &Ended { status, error, took }));
        }
    }
}
