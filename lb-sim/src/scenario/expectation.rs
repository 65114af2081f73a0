//! The small language of expectations: `p99@faults <= 120ms`, `share(b1:80) <= 0.2`.
//!
//! ```text
//! expectation = metric [ "(" origin ")" ] [ "@" phase ] op number
//! metric      = errors | error_ratio | turned_away | attempts | retries | retry_ratio | amplification
//!             | attempts_max | goodput | opened | share | share_max | share_min | wanderers
//!             | mean | p50 | p90 | p99 | p99.9 | max
//! phase       = calm | faults | healed | from ".." to
//! op          = "<=" | ">=" | "==" | "<" | ">"
//! number      = a ratio, a percentage (`0.1%`), a count, or a duration
//! mark        = retry | again | panic | trial | recovered | open | fell | rose | outcome name | withheld name
//! ```

use std::time::Duration;

use lb_config::quantity;
use lb_config::read::Mistake;

/// A number, and what it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// As it was written.
    pub text: String,
    /// The number.
    pub metric: Metric,
    /// Over which part of the run; `None` is all of it.
    pub phase: Option<Phase>,
    op: Op,
    /// What it is compared with: a count, a ratio, or milliseconds.
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    AtMost,
    AtLeast,
    Equal,
    Below,
    Above,
}

/// Something that can be measured of a run or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests that were not answered below 500.
    Errors,
    /// Their share of the requests.
    ErrorRatio,
    /// Requests that a proxy which drained did not take.
    TurnedAway,
    /// Requests to origins.
    Attempts,
    /// Attempts after the first.
    Retries,
    /// Retries per request.
    RetryRatio,
    /// Attempts per request: how much more than clients do the proxy asks.
    Amplification,
    /// The most attempts that one request had.
    AttemptsMax,
    /// Good answers per second.
    Goodput,
    /// How often a breaker opened.
    Opened,
    /// The share of the attempts that went to this origin.
    Share(String),
    /// The share of the attempts that went to the origin which got the most.
    ShareMax,
    /// The share of the attempts that went to the origin which got the fewest.
    ShareMin,
    /// The share of the users that reached more than one origin.
    Wanderers,
    /// The share of the requests that were answered with this status.
    Answered(u16),
    /// The latency, in milliseconds, below which this share of the good answers stayed, in thousandths.
    Latency(u16),
    /// The mean latency of good answers, in milliseconds.
    LatencyMean,
    /// The longest latency of a good answer, in milliseconds.
    LatencyMax,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the first fault.
    Calm,
    /// From the first fault to the end of the last.
    Faults,
    /// After the last fault.
    Healed,
    /// From one time of the run to another.
    Between(Duration, Duration),
}

impl Phase {
    /// Whether it begins when a run of this length is over already: there would be nothing to look at.
    pub fn is_beyond(self, duration: Duration) -> bool {
        matches!(self, Self::Between(from, _) if from >= duration)
    }
}

/// Something worth reaching at least once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub String);

/// The marks that have no outcome's or reason's name.
const MARKS: [&str; 23] = [
    "retry",
    "again",
    "hedge",
    "panic",
    "trial",
    "recovered",
    "open",
    "fell",
    "rose",
    "ejected",
    "spilled",
    "weight",
    "area",
    "nearest",
    "fastest",
    "next",
    "fallback",
    "queued",
    "overloaded",
    "queue_timeout",
    "client_busy",
    "rate_limited",
    "no_fit_backend",
];

const METRICS: [&str; 21] = [
    "errors",
    "error_ratio",
    "turned_away",
    "attempts",
    "retries",
    "retry_ratio",
    "amplification",
    "attempts_max",
    "goodput",
    "opened",
    "share",
    "share_max",
    "share_min",
    "answered",
    "wanderers",
    "mean",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
];

impl Expectation {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, and what can be written instead.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let ops = [
            ("<=", Op::AtMost),
            (">=", Op::AtLeast),
            ("==", Op::Equal),
            ("<", Op::Below),
            (">", Op::Above),
        ];
        let found = ops.iter().find_map(|(sign, op)| Some((text.split_once(sign)?, *op)));
        let ((left, right), op) = found.ok_or_else(|| {
            Mistake::new(
                "compares nothing",
                "write <, <=, ==, >= or >, as in \"error_ratio <= 0.01\"",
            )
        })?;
        let (metric, phase) = Metric::parse(left)?;
        let bound = read_bound(right.trim(), &metric)?;
        if bound < 0.0 {
            return Err(Mistake::new("compares with less than nothing", "write 0 or more"));
        }
        if metric.is_part() && bound > 1.0 {
            let remedy = "write 0% to 100%, or 0 to 1";
            return Err(Mistake::new("compares a part with more than the whole", remedy));
        }
        Ok(Self { text: text.to_owned(), metric, phase, op, bound })
    }

    /// Whether it measures a latency, in milliseconds.
    pub const fn is_latency(&self) -> bool {
        self.metric.is_latency()
    }

    /// Whether `measured` is as expected.
    pub fn holds(&self, measured: f64) -> bool {
        match self.op {
            Op::AtMost => measured <= self.bound,
            Op::AtLeast => measured >= self.bound,
            Op::Below => measured < self.bound,
            Op::Above => measured > self.bound,
            Op::Equal => (measured - self.bound).abs() < f64::EPSILON,
        }
    }
}

impl Metric {
    /// Reads one, and the part of the run that it is measured over: `p99@faults`.
    ///
    /// # Errors
    /// What is wrong with it, and what can be written instead.
    pub fn parse(text: &str) -> Result<(Self, Option<Phase>), Mistake> {
        let (name, phase) = match text.trim().split_once('@') {
            Some((name, phase)) => (name, Some(read_phase(phase.trim())?)),
            None => (text.trim(), None),
        };
        Ok((read_metric(name.trim())?, phase))
    }

    /// Whether it is a part of a whole.
    const fn is_part(&self) -> bool {
        let of_requests = matches!(self, Self::ErrorRatio | Self::Answered(_) | Self::Wanderers);
        of_requests || matches!(self, Self::Share(_) | Self::ShareMax | Self::ShareMin)
    }

    /// Whether a percentage says something of it.
    const fn is_ratio(&self) -> bool {
        self.is_part() || matches!(self, Self::RetryRatio | Self::Amplification)
    }

    /// Whether it is a latency, in milliseconds.
    pub const fn is_latency(&self) -> bool {
        matches!(self, Self::Latency(_) | Self::LatencyMean | Self::LatencyMax)
    }
}

fn read_phase(name: &str) -> Result<Phase, Mistake> {
    match name {
        "calm" => Ok(Phase::Calm),
        "faults" => Ok(Phase::Faults),
        "healed" => Ok(Phase::Healed),
        _ => read_times(name),
    }
}

/// `10s..60s`.
fn read_times(name: &str) -> Result<Phase, Mistake> {
    let mistake = || {
        Mistake::new("names no phase", "write @calm, @faults, @healed, or times as in @10s..60s")
    };
    let (from, to) = name.split_once("..").ok_or_else(mistake)?;
    let (from, to) = (quantity::duration(from.trim())?, quantity::duration(to.trim())?);
    if from < to { Ok(Phase::Between(from, to)) } else { Err(mistake()) }
}

fn read_metric(name: &str) -> Result<Metric, Mistake> {
    if let Some(origin) = name.strip_prefix("share(").and_then(|rest| rest.strip_suffix(')')) {
        return Ok(Metric::Share(origin.to_owned()));
    }
    if let Some(status) = name.strip_prefix("answered(").and_then(|rest| rest.strip_suffix(')')) {
        let known = status.parse().ok().filter(|status| (100..600).contains(status));
        let mistake = || Mistake::new("names no status", "write answered(429)");
        return known.map(Metric::Answered).ok_or_else(mistake);
    }
    match name {
        "errors" => Ok(Metric::Errors),
        "error_ratio" => Ok(Metric::ErrorRatio),
        "turned_away" => Ok(Metric::TurnedAway),
        "attempts" => Ok(Metric::Attempts),
        "retries" => Ok(Metric::Retries),
        "retry_ratio" => Ok(Metric::RetryRatio),
        "amplification" => Ok(Metric::Amplification),
        "attempts_max" => Ok(Metric::AttemptsMax),
        "goodput" => Ok(Metric::Goodput),
        "opened" => Ok(Metric::Opened),
        "share_max" => Ok(Metric::ShareMax),
        "share_min" => Ok(Metric::ShareMin),
        "wanderers" => Ok(Metric::Wanderers),
        "mean" => Ok(Metric::LatencyMean),
        "p50" => Ok(Metric::Latency(500)),
        "p90" => Ok(Metric::Latency(900)),
        "p99" => Ok(Metric::Latency(990)),
        "p99.9" => Ok(Metric::Latency(999)),
        "max" => Ok(Metric::LatencyMax),
        "answered" => Err(Mistake::new("names no status", "write answered(429)")),
        "share" => Err(Mistake::new("names no origin", "write share(b1:80)")),
        _ => Err(Mistake::new(
            format!("measures {name:?}, which is unknown"),
            format!("what can be measured is {}", METRICS.join(", ")),
        )),
    }
}

fn read_bound(text: &str, metric: &Metric) -> Result<f64, Mistake> {
    if metric.is_latency() {
        if text.parse::<f64>().is_ok() {
            let remedy = format!("write the unit, as in {text}ms");
            return Err(Mistake::new("compares a latency with a bare number", remedy));
        }
        return quantity::duration(text).map(|bound| bound.as_secs_f64() * 1_000.0);
    }
    if text.ends_with('%') && !metric.is_ratio() {
        let remedy = "write how many, or measure error_ratio, retry_ratio or a share";
        return Err(Mistake::new("compares a count with a percentage", remedy));
    }
    let (text, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 0.01),
        None => (text, 1.0),
    };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    let number = number.map(|number| number * unit);
    number.ok_or_else(|| Mistake::new("compares with no number", "write one, as in <= 0.01"))
}

impl Mark {
    /// Reads one: `retry`, `again`, `panic`, `trial`, `recovered`, `open`, a failure's name, or that of
    /// a reason for a withheld retry.
    ///
    /// # Errors
    /// What is wrong with it, and what can be written instead.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let known: Vec<&str> = MARKS
            .into_iter()
            .chain(lb_core::Failure::ALL.map(lb_core::Failure::as_str))
            .chain(lb_core::Withheld::ALL.map(lb_core::Withheld::as_str))
            .collect();
        if known.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        let remedy = format!("what can be reached is {}", known.join(", "));
        Err(Mistake::new("is no mark", remedy))
    }
}
