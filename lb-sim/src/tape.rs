//! The tape of a run: all that the core was handed, and all that it told, in order.
//!
//! The log says what happened, for people and invariants. The tape says why it could not have happened
//! otherwise: whoever feeds its inputs to the core alone must hear its events ([`repeat`](crate::repeat)).
//! It holds what a request says of itself, so it is made only where somebody asks for it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lb_core::{Ask, Event, ExchangeId, Facts, Input, Repeat, Time};

/// What was heard, in order.
#[derive(Clone, Debug, Default)]
pub struct Tape(Arc<Mutex<Vec<Note>>>);

/// Something that was heard.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// By the proxy's clock.
    pub(crate) now: Time,
    /// The line of the trace that says it; of an input, the next one.
    pub(crate) line: usize,
    /// By which configuration of the run services and backends have their numbers.
    pub(crate) era: usize,
    /// What.
    pub(crate) what: Heard,
}

/// What was heard.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    /// Another configuration is served from now on.
    Reloaded,
    /// An exchange began, at the service of this place.
    Began(u16, Box<Asked>),
    /// The core was handed this.
    Input(Input),
    /// The core told this, or the driver told that a client left.
    Event(Event),
}

/// A request, with every answer that it gave when it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    id: ExchangeId,
    repeat: Repeat,
    bodiless: bool,
    client: Option<IpAddr>,
    path: Box<str>,
    query: Option<Box<str>>,
    patience: Option<Duration>,
    headers: Vec<(Box<str>, Box<[u8]>)>,
}

impl Tape {
    pub(crate) fn note(&self, note: Note) {
        // A poisoned tape belongs to a run that has panicked, and is reported as such.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    /// Everything that was noted.
    pub(crate) fn take(&self) -> Vec<Note> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Asked {
    pub(crate) fn of(ask: &Ask<'_>) -> Self {
        let facts = ask.facts;
        let mut headers: Vec<(Box<str>, Box<[u8]>)> = Vec::new();
        facts.each_header(&mut |name, value| headers.push((name.into(), value.into())));
        Self {
            id: ask.id,
            repeat: ask.repeat,
            bodiless: ask.bodiless,
            client: facts.client(),
            path: facts.path().into(),
            query: facts.query().map(Into::into),
            patience: facts.patience(),
            headers,
        }
    }

    /// The same question once more.
    pub(crate) fn again(&self) -> Ask<'_> {
        Ask { id: self.id, repeat: self.repeat, facts: self, bodiless: self.bodiless }
    }
}

impl Facts for Asked {
    fn client(&self) -> Option<IpAddr> {
        self.client
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    fn each_line(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
        let lines = self.headers.iter().filter(|(known, _)| **known == *name);
        lines.for_each(|(_, value)| tell(value));
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn patience(&self) -> Option<Duration> {
        self.patience
    }
}
