//! An exchange as a line of the record.

use std::io::Write;
use std::net::IpAddr;

use lb_core::{BodyEnd, Facts, Outcome, Repeat, stable_hash};

use super::{CLIENT_CLOSED_REQUEST, Journal, Record, RequestFacts, UNAVAILABLE};
use crate::asking::Asking;
use crate::snapshot::Site;
use crate::view::View;

/// What a record has of a request.
pub(super) struct Recorded {
    key: Option<u64>,
    repeat: Repeat,
}

impl RequestFacts {
    /// It is to be recorded, if that is asked for and it is for a service.
    pub(crate) fn record(&mut self, view: &View, asking: &Asking<'_>, site: Option<&Site>) {
        let (Some(site), Some(_), Some(sink)) = (site, &view.recording, &view.gateway.recorder)
        else {
            return;
        };
        // Where clients are told apart by nothing else, by their address.
        let key = site.service.key_of(asking).or_else(|| asking.client().map(of_address));
        let repeat = crate::proxy::repeat(&asking.head.method);
        self.recorded = Some(Recorded { key: key.map(|key| sink.veil(key)), repeat });
    }
}

fn of_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(ip) => stable_hash(&ip.octets()),
        IpAddr::V6(ip) => stable_hash(&ip.octets()),
    }
}

impl Journal {
    /// Writes the exchange down, if it is recorded.
    pub(super) fn write_record(&self) {
        let gateway = &self.view.gateway;
        let said = (&self.facts.recorded, &self.view.recording, &gateway.recorder);
        let (Some(recorded), Some(table), Some(sink)) = said else { return };
        let mut line = Vec::with_capacity(LINE_BYTES);
        self.recorded(recorded, &self.record.borrow(), &mut line)
            .expect("writing to a vector cannot fail");
        sink.line(table, line);
    }

    /// `at service repeat key status end took in out attempts`, as `docs/record.md` has it.
    fn recorded(
        &self,
        Recorded { key, repeat }: &Recorded,
        record: &Record,
        line: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let now = self.view.gateway.now();
        let cut = self.view.is_cutting() && matches!(record.end, None | Some(BodyEnd::ClientLeft));
        let unanswered = if cut { UNAVAILABLE } else { CLIENT_CLOSED_REQUEST };
        let status = record.status.map_or(unanswered, |status| status.as_u16());
        let end = match record.end {
            Some(BodyEnd::Complete) => 'c',
            Some(
                BodyEnd::BackendBroke
                | BodyEnd::BackendLeft
                | BodyEnd::BackendIdle
                | BodyEnd::BackendQuiet
                | BodyEnd::ConnectionBroke
                | BodyEnd::Deadline,
            ) => 'b',
            None if record.status.is_some() => 'r',
            Some(BodyEnd::ClientLeft) | None if cut => 'b',
            Some(BodyEnd::ClientLeft) | None => 'l',
        };
        let repeat = match repeat {
            Repeat::Safe => 's',
            Repeat::Idempotent => 'i',
            Repeat::Once => 'o',
        };
        let (at, service) = (self.began.as_micros(), self.facts.service.unwrap_or_default());
        write!(line, "{at} {service} {repeat} ")?;
        match key {
            Some(key) => write!(line, "{key:016x}")?,
            None => line.push(b'-'),
        }
        let took = (now - self.began).as_micros();
        let bytes_in = self.bytes_in.get().map_or(0, |bytes| bytes.get());
        write!(line, " {status} {end} {took} {bytes_in} {} ", record.bytes_out)?;
        if record.attempts.is_empty() {
            line.push(b'-');
        }
        for (number, attempt) in record.attempts.iter().enumerate() {
            if number > 0 {
                line.push(b',');
            }
            write!(line, "{}:", attempt.backend.backend)?;
            let took = match attempt.concluded {
                Some((Outcome::Answered(status), took)) => {
                    write!(line, "{status}")?;
                    took
                }
                Some((Outcome::Failed(failure), took)) => {
                    write!(line, "{}", failure.as_str())?;
                    took
                }
                None => {
                    write!(line, "abandoned")?;
                    now - attempt.began
                }
            };
            write!(line, ":{}:{}", (attempt.began - self.began).as_micros(), took.as_micros())?;
        }
        Ok(())
    }
}

/// Of most lines.
const LINE_BYTES: usize = 96;
