//! Records of `lb-server`: `docs/record.md` has the format.
//!
//! Millions of lines are read at once, so a line is read byte by byte, without a copy.

use lb_core::{Failure, Outcome, Repeat};
use serde::Deserialize;

use super::builder::{Builder, Seen};
use super::cursor::{Cursor, Fault, micros};
use super::{Attempt, End};

/// The version that is read here.
const VERSION: u32 = 1;

/// Reads records.
#[derive(Default)]
pub(super) struct Native {
    tables: Vec<Table>,
    current: Option<usize>,
    attempts: Vec<Attempt>,
}

/// What numbers mean in the lines that follow.
struct Table {
    id: String,
    began_us: u64,
    services: Vec<(u16, Vec<u16>)>,
}

/// The line that opens a table.
#[derive(Deserialize)]
struct Head {
    lb_record: u32,
    table: String,
    began_us: u64,
    services: Vec<HeadService>,
}

#[derive(Deserialize)]
struct HeadService {
    name: String,
    backends: Vec<String>,
}

impl Native {
    /// Reads a line; whether it was an exchange.
    pub(super) fn line(&mut self, line: &[u8], to: &mut Builder) -> Result<bool, Fault> {
        match line.first() {
            Some(b'{') => self.head(line, to).map(|()| false),
            Some(b'@') => {
                let known = self.tables.iter().position(|table| table.id.as_bytes() == &line[1..]);
                let fault = |what, remedy| Fault { column: 2, what, remedy, is_fatal: false };
                // What follows would be given to the wrong backends.
                self.current = known;
                let missing = || fault("names a table that was not opened", OTHER_PART);
                known.map(|_| false).ok_or_else(missing)
            }
            _ => self.exchange(line, to).map(|()| true),
        }
    }

    fn head(&mut self, line: &[u8], to: &mut Builder) -> Result<(), Fault> {
        let fault = |what, remedy, is_fatal| Fault { column: 1, what, remedy, is_fatal };
        let head: Head = serde_json::from_slice(line)
            .map_err(|_| fault("is no header of a record", "write the record anew", false))?;
        if head.lb_record != VERSION {
            let what = "is of a format version that is not 1";
            return Err(fault(what, "use the lb-sim that came with the lb-server", true));
        }
        let mut services = Vec::with_capacity(head.services.len());
        for service in &head.services {
            let number = to.service(service.name.as_bytes())?;
            let backends = service.backends.iter().map(|name| to.backend(name.as_bytes()));
            services.push((number, backends.collect::<Result<_, _>>()?));
        }
        let table = Table { id: head.table, began_us: head.began_us, services };
        let known = self.tables.iter().position(|it| it.id == table.id);
        let at = known.unwrap_or(self.tables.len());
        match known {
            Some(at) => self.tables[at] = table,
            None => self.tables.push(table),
        }
        self.current = Some(at);
        Ok(())
    }

    /// `at service repeat key status end took in out attempts`.
    fn exchange(&mut self, line: &[u8], to: &mut Builder) -> Result<(), Fault> {
        let mut cursor = Cursor::new(line);
        let table = self.current.map(|at| &self.tables[at]);
        let table = table.ok_or_else(|| cursor.fault("has no header before it", OTHER_PART))?;
        let number = |cursor: &mut Cursor<'_>, what| {
            let number = cursor.number().ok_or_else(|| cursor.fault(what, CUT))?;
            let is_over = cursor.eats(b' ') || cursor.is_over();
            is_over.then_some(number).ok_or_else(|| cursor.fault(what, CUT))
        };
        let at = number(&mut cursor, "has no time of arrival")?;
        let service = number(&mut cursor, "has no service")?;
        let service = usize::try_from(service).ok().and_then(|at| table.services.get(at));
        let unknown = || cursor.fault("names a service that its header does not have", OTHER_PART);
        let (service, backends) = service.ok_or_else(unknown)?;
        let repeat = match cursor.next() {
            Some(b's') => Repeat::Safe,
            Some(b'i') => Repeat::Idempotent,
            Some(b'o') => Repeat::Once,
            _ => return Err(cursor.fault("does not say whether it may be repeated", CUT)),
        };
        let key = cursor.eats(b' ').then(|| if cursor.eats(b'-') { Some(0) } else { cursor.hex() });
        let key = key.flatten().filter(|_| cursor.eats(b' '));
        let key = key.ok_or_else(|| cursor.fault("has no key", CUT))?;
        let status = number(&mut cursor, "has no status")?;
        let status = u16::try_from(status).map_err(|_| cursor.fault("has no status", CUT))?;
        let end = match cursor.next() {
            Some(b'c') => End::Complete,
            Some(b'r') => End::Ours,
            Some(b'l') => End::Left,
            Some(b'b') => End::Broken,
            _ => return Err(cursor.fault("does not say how it ended", CUT)),
        };
        if !cursor.eats(b' ') {
            return Err(cursor.fault("does not say how it ended", CUT));
        }
        let took = number(&mut cursor, "does not say how long it took")?;
        let bytes_in = number(&mut cursor, "does not say how much was sent")?;
        let _bytes_out = number(&mut cursor, "does not say how much was answered")?;
        self.attempts.clear();
        if !cursor.eats(b'-') {
            loop {
                self.attempts.push(attempt(&mut cursor, backends)?);
                if !cursor.eats(b',') {
                    break;
                }
            }
        }
        if !cursor.is_over() {
            return Err(cursor.fault("goes on where it should end", CUT));
        }
        let at = table.began_us.saturating_add(at);
        let service = *service;
        let seen = Seen { at, took, key, bytes_in, service, status, repeat, end };
        to.add(&seen, &self.attempts)
    }
}

/// `backend:outcome:at:took`.
fn attempt(cursor: &mut Cursor<'_>, backends: &[u16]) -> Result<Attempt, Fault> {
    const WHAT: &str = "has an attempt that is not backend:outcome:at:took";
    let backend = cursor.number().and_then(|at| backends.get(usize::try_from(at).ok()?));
    let unknown = "names a backend that its header does not have";
    let backend = *backend.ok_or_else(|| cursor.fault(unknown, CUT))?;
    if !cursor.eats(b':') {
        return Err(cursor.fault(WHAT, CUT));
    }
    let outcome = match cursor.number() {
        Some(status) => {
            let status = u16::try_from(status).map_err(|_| cursor.fault(WHAT, CUT))?;
            let is_over = cursor.eats(b':').then_some(Some(Outcome::Answered(status)));
            is_over.ok_or_else(|| cursor.fault(WHAT, CUT))?
        }
        None => outcome(cursor.until(b':')).ok_or_else(|| cursor.fault(WHAT, CUT))?,
    };
    let at = cursor.number().filter(|_| cursor.eats(b':'));
    let took = at.and_then(|at| Some((at, cursor.number()?)));
    let (at, took) = took.ok_or_else(|| cursor.fault(WHAT, CUT))?;
    Ok(Attempt { backend: Some(backend), outcome, at: micros(at), took: Some(micros(took)) })
}

/// What a failure's name says; `None`: it is none.
pub(super) fn outcome(name: &[u8]) -> Option<Option<Outcome>> {
    if name == b"abandoned" {
        return Some(None);
    }
    let failure = Failure::ALL.into_iter().find(|failure| failure.as_str().as_bytes() == name)?;
    Some(Some(Outcome::Failed(failure)))
}

const CUT: &str = "it was cut short or changed; the others do not need it";
const OTHER_PART: &str = "give lb-sim the whole file, with the line that begins with {";
