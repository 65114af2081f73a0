//! What goes wrong in a scenario: its kinds, and how they are written.

use std::ops::RangeInclusive;
use std::time::Duration;

use lb_config::read::{Given, Mistake, Table};

use super::origin::host_and_port;
use super::read::{DURATION_MAX, QUEUE_MAX, TICK};
use super::{Origin, Protocol};

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
    /// It works on no more answers at a time than this.
    Shrink {
        /// How many.
        concurrency: usize,
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
            Self::Shrink { .. } => "shrink",
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

/// A body that takes less has pieces that arrive together.
const TRICKLE_MIN: Duration = Duration::from_millis(100);
/// Requests after which a connection says GOAWAY.
const REQUESTS_MAX: u32 = 1_000_000;
/// The share of its speed that is left to an origin: a thousandth is as good as nothing.
const SPEED: RangeInclusive<f64> = 0.001..=1.0;
/// The shortest period in whose halves a connection can come about.
const FLAP_MIN: Duration = Duration::from_millis(100);

const KINDS: [(&str, FaultKind); 16] = [
    ("blackhole", FaultKind::Blackhole),
    ("partition", FaultKind::Partition),
    ("half_open", FaultKind::HalfOpen),
    ("refuse", FaultKind::Refuse),
    ("crash", FaultKind::Crash),
    ("status", FaultKind::Status { code: 0, rate: 1.0, whom: Whom::All }),
    ("slow", FaultKind::Slow { by: Duration::ZERO }),
    ("brownout", FaultKind::Brownout { speed: 1.0 }),
    ("shrink", FaultKind::Shrink { concurrency: 1 }),
    ("truncate", FaultKind::Truncate),
    ("trickle", FaultKind::Trickle { over: Duration::ZERO }),
    ("reset", FaultKind::Reset { rate: 1.0 }),
    ("flap", FaultKind::Flap { period: Duration::ZERO }),
    ("close_idle", FaultKind::CloseIdle { after: Duration::ZERO }),
    ("goaway", FaultKind::Goaway { requests: 1 }),
    ("refused_stream", FaultKind::RefusedStream { rate: 1.0 }),
];

/// One for each origin that it happens to.
pub(super) fn fault(mut table: Table<'_>, origins: &[Origin]) -> Vec<Fault> {
    let at = table.duration("at", Duration::ZERO..=DURATION_MAX).required("at = \"5s\"");
    let lasts = table.duration("for", TICK..=DURATION_MAX).required("for = \"10s\"");
    let kind = table.choice("kind", &KINDS).required("kind = \"blackhole\"");
    let whom = whom(&mut table, origins);
    let Some(kind) = kind else {
        // Which keys belong to it is anybody's guess: complaints about them would only distract.
        let _unused = [
            "code",
            "rate",
            "whom",
            "by",
            "speed",
            "over",
            "period",
            "after",
            "requests",
            "concurrency",
        ]
        .map(|key| table.field(key, |_| Some(())));
        return Vec::new();
    };
    let (Some(at), Some(lasts), Some(kind)) = (at, lasts, of_kind(&mut table, kind.value)) else {
        return Vec::new();
    };
    let (at, lasts) = (at.value, lasts.value);
    for Given { value: origin, at, .. } in &whom {
        let origin = &origins[*origin];
        let name = origin.address();
        if let Some(needs) = kind.protocol().filter(|needs| origin.protocol != *needs) {
            let (what, word) =
                (kind.as_str(), if needs == Protocol::Http2 { "h2" } else { "http1" });
            let what = format!("{what} cannot happen to this origin");
            let remedy = format!("let the origin have protocol = {word:?}");
            table.report().error(*at, what, remedy);
        }
        if let FaultKind::Shrink { concurrency } = kind
            && origin.concurrency.is_none_or(|most| most <= concurrency)
        {
            let what = format!("shrink leaves {name} no less than it has");
            let remedy = format!("let the origin have concurrency above {concurrency}");
            table.report().error(*at, what, remedy);
        }
    }
    whom.iter().map(|origin| Fault { at, lasts, origin: origin.value, kind }).collect()
}

/// To whom it happens: one origin, or several at the same time.
fn whom(table: &mut Table<'_>, origins: &[Origin]) -> Vec<Given<usize>> {
    let both = table.has_any(&["origin"]) && table.has_any(&["origins"]);
    let has_several = table.has_any(&["origins"]);
    let one = table.parsed("origin", |text| place(text, origins));
    let several = table.list("origins", |value| {
        let at = value.at();
        Some(Given { value: value.parsed(|text| place(text, origins))?, at, said: true })
    });
    if both {
        table.report().error(table.at(), "a fault has origin and origins", "remove one of them");
    }
    if !has_several {
        return one.required("origin = \"b1:80\"").into_iter().collect();
    }
    let Some(several) = several.given() else { return Vec::new() };
    let twice = |(nth, it): &(usize, &Given<usize>)| {
        several.value[..*nth].iter().any(|other| other.value == it.value)
    };
    if several.value.is_empty() {
        let what = "origins names nobody";
        table.report().error(several.at, what, "write origins = [\"b1:80\", \"b2:80\"]");
    } else if let Some((_, again)) = several.value.iter().enumerate().find(twice) {
        table.report().error(again.at, "origins names one twice", "remove it");
    }
    several.value
}

/// What it is, with all that belongs to it.
fn of_kind(table: &mut Table<'_>, kind: FaultKind) -> Option<FaultKind> {
    Some(match kind {
        FaultKind::Status { .. } => {
            let code = table.integer("code", 400..=599_u16).required("code = 523");
            let rate = table.number("rate", 0.0..=1.0).or(1.0);
            let all = [("all", Whom::All), ("requests", Whom::Requests), ("checks", Whom::Checks)];
            let whom = table.choice("whom", &all).or(Whom::All);
            FaultKind::Status { code: code?.value, rate, whom }
        }
        FaultKind::Slow { .. } => {
            let by = table.duration("by", TICK..=DURATION_MAX).required("by = \"500ms\"");
            FaultKind::Slow { by: by?.value }
        }
        FaultKind::Brownout { .. } => {
            let speed = table.number("speed", SPEED).required("speed = 0.2");
            FaultKind::Brownout { speed: speed?.value }
        }
        FaultKind::Shrink { .. } => {
            let concurrency = table.integer("concurrency", 1..=QUEUE_MAX);
            FaultKind::Shrink { concurrency: concurrency.required("concurrency = 2")?.value }
        }
        FaultKind::Trickle { .. } => {
            let over = table.duration("over", TRICKLE_MIN..=DURATION_MAX);
            FaultKind::Trickle { over: over.required("over = \"2s\"")?.value }
        }
        FaultKind::Reset { .. } => {
            FaultKind::Reset { rate: table.number("rate", 0.0..=1.0).or(1.0) }
        }
        FaultKind::Flap { .. } => {
            let period = table.duration("period", FLAP_MIN..=DURATION_MAX);
            FaultKind::Flap { period: period.required("period = \"2s\"")?.value }
        }
        FaultKind::CloseIdle { .. } => {
            let after = table.duration("after", Duration::ZERO..=DURATION_MAX).or(Duration::ZERO);
            FaultKind::CloseIdle { after }
        }
        FaultKind::Goaway { .. } => {
            let requests = table.integer("requests", 1..=REQUESTS_MAX);
            FaultKind::Goaway { requests: requests.required("requests = 20")?.value }
        }
        FaultKind::RefusedStream { .. } => {
            FaultKind::RefusedStream { rate: table.number("rate", 0.0..=1.0).or(1.0) }
        }
        kind => kind,
    })
}

/// The place of an origin that is written as `host:port`.
pub(super) fn place(text: &str, origins: &[Origin]) -> Result<usize, Mistake> {
    let (host, port) = host_and_port(text)?;
    origins.iter().position(|origin| origin.host == host && origin.port == port).ok_or_else(|| {
        let all: Vec<_> = origins.iter().map(Origin::address).collect();
        Mistake::new("is no origin", format!("the origins are {}", all.join(", ")))
    })
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
