//! What is rehearsed: a configuration, a world around it, what goes wrong, and what must hold.
//!
//! A scenario file embeds the native configuration unchanged under `[config]`; everything else says
//! what the world is like. The format is in `scenarios/README.md`. Whoever holds a [`Scenario`] may
//! trust it: every backend has an origin, every fault names one, every expectation is understood.

mod action;
pub(crate) mod crowd;
mod expectation;
mod latency;
mod read;

use std::time::Duration;

use lb_config::Config;

use crate::roster::Roster;

pub use action::{Action, ActionKind, Attack, Tunnels};
pub use crowd::Crowd;
pub use expectation::{Expectation, Mark, Metric, Phase};
pub use latency::Latency;
pub use read::{load, shape};

/// A whole scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it proves: the first line of its file.
    pub claim: String,
    /// The file, as it was named.
    pub file: String,
    /// The seed when none is given.
    pub seed: u64,
    /// How long requests arrive.
    pub duration: Duration,
    /// How long after the last fault everything must be as before.
    pub recover_within: Duration,
    /// What is rehearsed: the first of the configurations.
    pub config: Config,
    /// Whoever is named in any of them.
    pub roster: Roster,
    /// What is done to the proxy, in the order of time.
    pub actions: Vec<Action>,
    /// The servers behind it.
    pub origins: Vec<Origin>,
    /// The clients in front of it.
    pub workload: Workload,
    /// Those that stay, if there are any.
    pub tunnels: Option<Tunnels>,
    /// Those that mean harm.
    pub attacks: Vec<Attack>,
    /// How long a segment is on its way, at least and at most.
    pub network: Span,
    /// Segments that wait at a socket before whoever sends them has to.
    pub socket: usize,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// What must hold, beside the invariants.
    pub expect: Expect,
}

/// Any duration between two, each as likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// A scripted server.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The host name by which the configuration's urls know it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How long it works on an answer.
    pub latency: Latency,
    /// How many answers it works on at a time, if that is bounded.
    pub concurrency: Option<usize>,
    /// How many requests wait there for their turn; more are answered 503.
    pub queue: usize,
    /// For how long answers from 500 on ask that it be left alone, in whole seconds.
    pub retry_after: Option<Duration>,
    /// Bytes of its answers.
    pub body: usize,
    /// How it tells where they end.
    pub framing: Framing,
    /// What it speaks.
    pub protocol: Protocol,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, from the first byte on: streams share connections.
    Http2,
}

/// How an answer tells where its body ends (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By a Content-Length.
    Length,
    /// In chunks, of which the last is empty.
    Chunked,
}

/// Requests that arrive whether or not earlier ones have been answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Requests per second.
    pub rate: f64,
    /// How they follow each other.
    pub arrivals: Arrivals,
    /// What clients speak.
    pub protocol: Protocol,
    /// Over HTTP/2: how many connections they share.
    pub connections: usize,
    /// The share of the requests whose client reads nothing of its answer's body for a while.
    pub slow_readers: f64,
    /// For how long.
    pub reads_after: Duration,
    /// The share of POST requests; the others are GET.
    pub post: f64,
    /// Bytes of a POST's body.
    pub body: usize,
    /// How long a POST's body takes to send.
    pub upload: Duration,
    /// How many users send them, each named by a header `x-user`; 0 names nobody.
    pub users: u32,
    /// Whether users send back the cookie that they were told last.
    pub cookies: bool,
    /// The share of the requests that the first user sends, beyond its own.
    pub heavy: f64,
    /// The host they ask for.
    pub host: String,
    /// Who they are if they ask one service, which tells them apart in its own way; only in the model.
    pub crowd: Option<Crowd>,
    /// How long a client waits before it hangs up.
    pub timeout: Duration,
    /// When more requests arrive than otherwise.
    pub surges: Vec<Surge>,
    /// What clients do that got no good answer.
    pub again: Again,
}

/// A time in which requests arrive more often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surge {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// How many times as often.
    pub times: f64,
}

/// What a client does that got no good answer: it asks again, as another request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// How often, at most.
    pub tries: u8,
    /// How long it waits before, each time.
    pub after: Duration,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Each on its own: gaps are exponential.
    Poisson,
    /// All gaps are the same.
    Even,
}

/// Something that goes wrong, named by what can be observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// Which origin, by its place in the scenario.
    pub origin: usize,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// Nothing arrives and nothing comes back: connections hang, and connecting does.
    Blackhole,
    /// New connections are refused at once; established ones hang.
    Partition,
    /// Requests arrive, and nothing comes back.
    HalfOpen,
    /// The process has stopped: connections are closed, and connecting is refused.
    Refuse,
    /// The machine has lost its power: connections break, and connecting hangs.
    Crash,
    /// This share of the requests is answered with this status.
    Status {
        /// The status.
        code: u16,
        /// The share.
        rate: f64,
        /// Which of them.
        whom: Whom,
    },
    /// It works at this share of its speed.
    Brownout {
        /// The share.
        speed: f64,
    },
    /// Answers take this much longer.
    Slow {
        /// How much.
        by: Duration,
    },
    /// Bodies break off half-way.
    Truncate,
    /// Bodies take this long, in pieces.
    Trickle {
        /// How long.
        over: Duration,
    },
    /// This share of the requests is read, and then the connection ends without an answer.
    Reset {
        /// The share.
        rate: f64,
    },
    /// As [`Refuse`](Self::Refuse) in the first half of every period; sound in the second.
    Flap {
        /// How long both halves are.
        period: Duration,
    },
    /// Kept connections are closed when they have been idle.
    CloseIdle {
        /// For this long; at once if it is zero.
        after: Duration,
    },
    /// Every connection of HTTP/2 says GOAWAY at one of its requests, and takes no more.
    Goaway {
        /// At which.
        requests: u32,
    },
    /// This share of the streams is not taken: REFUSED_STREAM.
    RefusedStream {
        /// The share.
        rate: f64,
    },
}

/// Who meets a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whom {
    /// Everybody.
    #[default]
    All,
    /// Requests of clients, and no health check: it goes unnoticed there.
    Requests,
    /// Health checks, and no request of a client: a false alarm.
    Checks,
}

impl Whom {
    /// Whether a request meets it that is a check, or is not.
    pub(crate) fn has(self, is_check: bool) -> bool {
        self == Self::All || (self == Self::Checks) == is_check
    }
}

impl FaultKind {
    /// As written in scenario files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blackhole => "blackhole",
            Self::Partition => "partition",
            Self::HalfOpen => "half_open",
            Self::Refuse => "refuse",
            Self::Crash => "crash",
            Self::Status { .. } => "status",
            Self::Brownout { .. } => "brownout",
            Self::Slow { .. } => "slow",
            Self::Truncate => "truncate",
            Self::Trickle { .. } => "trickle",
            Self::Reset { .. } => "reset",
            Self::Flap { .. } => "flap",
            Self::CloseIdle { .. } => "close_idle",
            Self::Goaway { .. } => "goaway",
            Self::RefusedStream { .. } => "refused_stream",
        }
    }

    /// The protocol without which it cannot happen, if there is one.
    pub const fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Goaway { .. } | Self::RefusedStream { .. } => Some(Protocol::Http2),
            Self::CloseIdle { .. } => Some(Protocol::Http1),
            _ => None,
        }
    }
}

impl Fault {
    /// When it is over.
    pub fn end(&self) -> Duration {
        self.at + self.lasts
    }

    /// Whether it does its harm at this time.
    pub fn is_on(&self, now: Duration) -> bool {
        let lasts = self.at <= now && now < self.end();
        match self.kind {
            FaultKind::Flap { period } if lasts => {
                let into = (now - self.at).as_nanos() % period.as_nanos();
                into < (period / 2).as_nanos()
            }
            _ => lasts,
        }
    }
}

/// What must hold, beside the invariants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// In every second in which requests arrive.
    pub always: Vec<Expectation>,
    /// At least once over all seeds of a sweep.
    pub sometimes: Vec<Mark>,
    /// In every second from `recover_within` after the last fault on.
    pub eventually: Vec<Expectation>,
    /// Over the whole run, or the phase that it names.
    pub at_end: Vec<Expectation>,
}

impl Scenario {
    /// When the first fault begins; the end of the run if there is none.
    pub fn first_fault(&self) -> Duration {
        self.faults.iter().map(|fault| fault.at).min().unwrap_or(self.duration)
    }

    /// When the last fault is over: from then on the world is healed.
    pub fn healed(&self) -> Duration {
        self.faults.iter().map(Fault::end).max().unwrap_or(Duration::ZERO)
    }

    /// When everything must be as before.
    pub fn recovered(&self) -> Duration {
        self.healed() + self.recover_within
    }

    /// What is served in turn: the configuration, and those of the reloads.
    pub fn configs(&self) -> impl Iterator<Item = &Config> {
        let reloads = self.actions.iter().filter_map(|action| match &action.kind {
            ActionKind::Reload(config) => Some(&**config),
            ActionKind::Drain => None,
        });
        std::iter::once(&self.config).chain(reloads)
    }

    /// The configuration that is served after so many reloads.
    pub fn config_after(&self, reloads: usize) -> &Config {
        self.configs().nth(reloads).expect("nobody counts more reloads than there are")
    }

    /// The place of the origin that is written as `host:port`.
    pub fn place(&self, written: &str) -> Option<usize> {
        let (host, port) = written.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        self.origins.iter().position(|it| it.port == port && it.host == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times, in milliseconds, at which a fault from 1 s to 2 s turns on or off.
    fn turns(kind: FaultKind) -> Vec<u64> {
        let second = Duration::from_secs(1);
        let fault = Fault { at: second, lasts: second, origin: 0, kind };
        let is_on = |ms| fault.is_on(Duration::from_millis(ms));
        (1..3_000).filter(|ms| is_on(*ms) != is_on(ms - 1)).collect()
    }

    #[test]
    fn a_fault_that_flaps_is_on_in_the_first_half_of_each_period_and_never_after_its_end() {
        assert_eq!(turns(FaultKind::Refuse), [1_000, 2_000]);
        let flap = |ms| turns(FaultKind::Flap { period: Duration::from_millis(ms) });
        assert_eq!(flap(400), [1_000, 1_200, 1_400, 1_600, 1_800, 2_000]);
        assert_eq!(flap(10_000), [1_000, 2_000]);
    }
}
