//! What is done to the proxy while it runs, and clients that stay for long: how they are written.

use std::time::Duration;

use lb_config::read::Table;
use lb_config::{Config, load_table};

use super::read::{DURATION_MAX, TICK};

/// Something that is done to the proxy while it serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// When.
    pub at: Duration,
    /// What.
    pub kind: ActionKind,
}

/// What is done to the proxy.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionKind {
    /// It is given this configuration in place of the one that it has.
    Reload(Box<Config>),
    /// It is told to finish what runs and to take nothing new, as by SIGTERM.
    Drain,
}

impl ActionKind {
    /// As written in scenario files and reports.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Reload(_) => "reload",
            Self::Drain => "drain",
        }
    }
}

/// Clients that switch to another protocol, and talk until the end of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnels {
    /// How many.
    pub count: u32,
    /// Within which time, from the beginning, all of them come.
    pub over: Duration,
    /// How often each says a word, and waits to hear it again.
    pub every: Duration,
    /// Bytes of a word.
    pub word: usize,
}

/// A client that takes its requests back as soon as a backend may have them: rapid reset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attack {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// Requests per second, on one connection.
    pub rate: f64,
}

impl Attack {
    /// When it is over.
    pub fn end(&self) -> Duration {
        self.at + self.lasts
    }
}

/// The most tunnels of a run.
const TUNNELS_MAX: u32 = 1_000;
/// The longest word.
const WORD_MAX: usize = 1 << 20;

pub(super) fn action(mut table: Table<'_>) -> Option<Action> {
    #[derive(Clone, Copy)]
    enum Word {
        Reload,
        Drain,
    }
    let at = table.duration("at", TICK..=DURATION_MAX).required("at = \"5s\"");
    let kind = table.choice("kind", &[("reload", Word::Reload), ("drain", Word::Drain)]);
    let kind = kind.required("kind = \"reload\"");
    let kind = match kind.map(|kind| kind.value) {
        Some(Word::Reload) => ActionKind::Reload(Box::new(load_table(table.table("config"))?)),
        Some(Word::Drain) => ActionKind::Drain,
        None => {
            // Whether a configuration belongs to it is anybody's guess.
            let _unused = table.field("config", |_| Some(()));
            return None;
        }
    };
    Some(Action { at: at?.value, kind })
}

pub(super) fn attack(mut table: Table<'_>) -> Option<Attack> {
    let at = table.duration("at", TICK..=DURATION_MAX).required("at = \"5s\"");
    let lasts = table.duration("for", TICK..=DURATION_MAX).required("for = \"5s\"");
    let kind = table.choice("kind", &[("rapid_reset", ())]).required("kind = \"rapid_reset\"");
    let rate = table.number("rate", 1.0..=1_000.0).or(500.0);
    kind?;
    Some(Attack { at: at?.value, lasts: lasts?.value, rate })
}

pub(super) fn tunnels(mut table: Table<'_>) -> Option<Tunnels> {
    let said = table.said();
    let count = table.integer("count", 1..=TUNNELS_MAX);
    let tunnels = Tunnels {
        count: 0,
        over: table.duration("over", TICK..=DURATION_MAX).or(Duration::from_secs(1)),
        every: table.duration("every", TICK..=DURATION_MAX).or(Duration::from_millis(250)),
        word: table.size("word", 1..=WORD_MAX).or(64),
    };
    let count = if said { count.required("count = 20")?.value } else { return None };
    Some(Tunnels { count, ..tunnels })
}
