//! What was learned about backends, as a text that outlives the process.
//!
//! A process that is killed forgets which backends are ill and which are quick, and learns it again at
//! the expense of its clients. So it is written down every few seconds, and the next process begins with
//! it. What is remembered is never worth a start that fails: a text that is damaged, too old, of another
//! version or of somebody else is left out, and the operator told.
//!
//! The text is two lines of JSON: a head with version, time and a sum over the second line, and that. An
//! embedded database would keep the same few hundred bytes per backend behind a format that nobody can
//! read, for the sake of writes in place that nobody needs: all of it is written anew and put in its
//! place by a rename, so that whoever is killed leaves the old text or the new one.
//!
//! Points in time of one process mean nothing to another, so there are spans alone ([`Learned`]), and the
//! time of day at which they were true. Entries go by service and backend. Those whose backends are
//! still to be found wait for them, as long as they would not be too old.

mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_config::config::Found;
use lb_config::quantity::show_duration;
use lb_core::{Learned, Time, stable_hash};

use crate::discovery::Key;
use crate::gateway::Gateway;
use crate::snapshot::Snapshot;
use text::{Body, Head};

/// The version of the text. Another one is not read.
const VERSION: u32 = 1;
/// Bytes of a text that is read: as many backends as a process may sensibly have, at 1 KiB each.
pub const STATE_BYTES_MAX: usize = 64 << 20;
/// By how much the time of day may have been set back meanwhile.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// What another process learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    backends: BTreeMap<(String, String), Learned>,
    found: BTreeMap<Key, Vec<Found>>,
    /// How long ago that was.
    away: Duration,
    max_age: Duration,
}

/// Why a text is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is not one of ours, or not from its first line on.
    Foreign,
    /// It is of this version.
    Version(u32),
    /// It is not what was written: a part is missing, or something else is in it.
    Damaged,
    /// It is so old.
    Old(Duration),
    /// It is from so far in the future.
    Ahead(Duration),
}

impl fmt::Display for Unusable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(out, "is no state of lb"),
            Self::Version(version) => {
                write!(out, "is of version {version}, and this is version {VERSION}")
            }
            Self::Damaged => write!(out, "is damaged: its sum is wrong"),
            Self::Old(age) => write!(out, "is {} old, which is more than max_age", whole(*age)),
            Self::Ahead(by) => {
                write!(out, "is from {} ahead of the time of day", whole(*by))
            }
        }
    }
}

impl std::error::Error for Unusable {}

fn whole(span: Duration) -> String {
    show_duration(Duration::from_secs(span.as_secs()))
}

/// What `gateway` has learned so far, as a text.
pub fn save(gateway: &Gateway) -> Vec<u8> {
    let (snapshot, now) = (gateway.snapshot(), gateway.now());
    let found = {
        let book = gateway.sources.book();
        let lists = book.known.iter().filter_map(|(key, it)| Some((key, it.own_list()?)));
        lists.map(|(key, list)| text::Found::of(key, list)).collect()
    };
    let services = snapshot.services().map(|service| text::Service::of(service, now)).collect();
    let body = Body { services, found };
    let body = serde_json::to_string(&body).expect("all keys are texts");
    let written = gateway.platform.unix_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    let head = Head {
        version: VERSION,
        written_ms: u64::try_from(written.as_millis()).unwrap_or(u64::MAX),
        sum: sum(&body),
    };
    let head = serde_json::to_string(&head).expect("all keys are texts");
    format!("{head}\n{body}\n").into_bytes()
}

/// Reads what [`save`] wrote, by the time of day `now`.
///
/// # Errors
/// Why it is not used.
pub fn load(text: &[u8], now: SystemTime, max_age: Duration) -> Result<Remembered, Unusable> {
    let text = std::str::from_utf8(text).map_err(|error| match error.valid_up_to() {
        0 => Unusable::Foreign,
        _ => Unusable::Damaged,
    })?;
    let (head, body) = text.split_once('\n').ok_or(Unusable::Foreign)?;
    let head: Head = serde_json::from_str(head).map_err(|_| Unusable::Foreign)?;
    if head.version != VERSION {
        return Err(Unusable::Version(head.version));
    }
    let body = body.strip_suffix('\n').ok_or(Unusable::Damaged)?;
    if sum(body) != head.sum {
        return Err(Unusable::Damaged);
    }
    let body: Body = serde_json::from_str(body).map_err(|_| Unusable::Damaged)?;
    let written =
        UNIX_EPOCH.checked_add(Duration::from_millis(head.written_ms)).ok_or(Unusable::Damaged)?;
    let away = match now.duration_since(written) {
        Ok(away) => away,
        Err(ahead) if ahead.duration() > AHEAD_MAX => {
            return Err(Unusable::Ahead(ahead.duration()));
        }
        Err(_) => Duration::ZERO,
    };
    if away > max_age {
        return Err(Unusable::Old(away));
    }
    let found = body.found.into_iter().map(text::Found::read).collect::<Option<_>>();
    Ok(Remembered {
        backends: body.services.into_iter().flat_map(text::Service::read).collect(),
        found: found.ok_or(Unusable::Damaged)?,
        away,
        max_age,
    })
}

fn sum(body: &str) -> String {
    format!("{:016x}", stable_hash(body.as_bytes()))
}

impl Remembered {
    /// How long ago it was true.
    pub const fn away(&self) -> Duration {
        self.away
    }

    /// Of how many sources it has what they found last.
    pub fn lists(&self) -> usize {
        self.found.len()
    }
}

/// What is remembered and not recalled yet: its backends are still to be found.
#[derive(Debug)]
pub(crate) struct Waiting {
    backends: BTreeMap<(String, String), Learned>,
    away: Duration,
    /// When that was how long ago.
    since: Time,
    max_age: Duration,
}

impl Gateway {
    /// Begins with what another process learned. Called before anybody serves; returns of how many
    /// backends something was recalled at once.
    pub fn recall(&self, remembered: Remembered) -> usize {
        let Remembered { backends, found, away, max_age } = remembered;
        let before = backends.len();
        *self.waiting() = Some(Waiting { backends, away, since: self.now(), max_age });
        self.remember_found(found);
        self.recall_in(&self.snapshot());
        before - self.waiting().as_ref().map_or(0, |waiting| waiting.backends.len())
    }

    /// Recalls what waits for backends of `snapshot`, each once.
    pub(crate) fn recall_in(&self, snapshot: &Snapshot) {
        let mut waiting = self.waiting();
        let Some(known) = &mut *waiting else { return };
        let now = self.now();
        let away = known.away + (now - known.since);
        if away > known.max_age {
            *waiting = None;
            return;
        }
        for service in snapshot.services() {
            let key = |name: &str| (service.name().to_owned(), name.to_owned());
            service.recall(|name| Some((*known.backends.get(&key(name))?, away)), now);
            for backend in service.backends() {
                known.backends.remove(&key(backend.name()));
            }
        }
        if known.backends.is_empty() {
            *waiting = None;
        }
    }
}

#[cfg(test)]
mod tests;
