//! Which trace a request belongs to: W3C Trace Context in, and out to backends.
//!
//! A trace is a tree of spans that many processes write, each its own. What holds it together is one
//! header field, `traceparent`: the trace's id, the id of the caller's span, and whether anybody
//! records it. [`Trace::begin`] reads it or begins a trace of our own; each attempt then is a span
//! whose id the backend gets as its parent ([`Trace::tell_backend`]).
//!
//! Whether a request is recorded is known before any span is made, so that the 99 of a hundred that
//! are not cost two numbers and a header field. Section numbers are those of Trace Context level 1
//! (<https://www.w3.org/TR/trace-context-1/>).
//!
//! - [`span`]: what is said of a request and of an attempt.
//! - [`otlp`]: spans as a collector reads them.
//! - [`export`]: how they get there, and [`send`] one batch of them.

pub(crate) mod export;
pub(crate) mod otlp;
pub(crate) mod span;
mod send;
mod state;
#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod tests;

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use lb_core::{ExchangeId, Rng};

use crate::headers::written;

/// The name of a trace; never zero (§3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId(u128);

/// The name of a span in its trace; never zero (§3.2.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId(u64);

/// What one request is in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    id: TraceId,
    /// The caller's span, if the trace is not ours.
    parent: Option<SpanId>,
    /// The span of the exchange.
    span: SpanId,
    sampled: bool,
    /// What others have to remember about the trace.
    state: Option<HeaderValue>,
    /// What the ids of attempts come from.
    dice: u64,
}

/// What `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flag that says that the caller may have recorded its span (§3.2.2.5.1).
const SAMPLED: u8 = 1;
/// Bytes of version 00: `00-` 32 digits `-` 16 digits `-` 2 digits.
const PARENT_BYTES: usize = 55;
const MILLION: u32 = 1_000_000;

impl Trace {
    /// The trace of `exchange`: the one that its client brings along, or one of our own, of which
    /// `sample_per_million` in a million are recorded. The same seed, exchange and head make the
    /// same trace.
    pub(crate) fn begin(
        headers: &HeaderMap,
        seed: u64,
        exchange: ExchangeId,
        sample_per_million: u32,
    ) -> Self {
        // A stream of its own: these numbers are shown to others, and the core's decide.
        let seed = lb_core::stable_hash(&[&seed.to_be_bytes()[..], b"trace"].concat());
        let mut rng = Rng::stream(seed, exchange.0);
        match parent(headers) {
            Some(Parent { trace, span, sampled }) => Self {
                id: trace,
                parent: Some(span),
                span: SpanId::draw(&mut rng),
                sampled,
                state: state::state(headers),
                dice: rng.next_u64(),
            },
            None => Self {
                id: TraceId((u128::from(fold(&mut rng)) << 64 | u128::from(fold(&mut rng))).max(1)),
                parent: None,
                span: SpanId::draw(&mut rng),
                sampled: rng.below(MILLION) < sample_per_million,
                state: None,
                dice: rng.next_u64(),
            },
        }
    }

    /// Whether spans of it are to be made.
    pub(crate) const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The span of the attempt with this number, which counts from 0 and over hedges too.
    pub(crate) fn attempt(&self, number: u32) -> SpanId {
        SpanId::draw(&mut Rng::stream(self.dice, number.into()))
    }

    /// Writes for a backend that `attempt` is its parent.
    pub(crate) fn tell_backend(&self, headers: &mut HeaderMap, attempt: SpanId) {
        let flags = if self.sampled { SAMPLED } else { 0 };
        let said = format!("00-{}-{attempt}-{flags:02x}", self.id);
        headers.insert(TRACEPARENT, written(&said));
        // It says something about the trace that it came with, and nothing about another (§3.3).
        headers.remove(TRACESTATE);
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// The caller's span, if it is said once and as it must be (§3.2, §4.2).
fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut said = headers.get_all(TRACEPARENT).iter();
    let first = said.next()?;
    said.next().is_none().then_some(())?;
    read_parent(first.to_str().ok()?)
}

fn read_parent(text: &str) -> Option<Parent> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        // Upper case is not allowed (§3.2.2.2).
        let are = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        are.then(|| u128::from_str_radix(digits, 16).ok()).flatten()
    };
    let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
    let version = digits(0..2).filter(|version| dashes && *version != 0xff)?;
    // Later versions may say more behind a dash; of what they say we read what we know (§3.2.4).
    let ends = match bytes.get(PARENT_BYTES) {
        None => true,
        Some(next) => version > 0 && *next == b'-',
    };
    let trace = digits(3..35).filter(|id| ends && *id != 0)?;
    let span = digits(36..52).filter(|id| *id != 0)?;
    let flags = digits(53..PARENT_BYTES)?;
    Some(Parent {
        trace: TraceId(trace),
        span: SpanId(u64::try_from(span).ok()?),
        sampled: flags & u128::from(SAMPLED) != 0,
    })
}

impl SpanId {
    fn draw(rng: &mut Rng) -> Self {
        Self(fold(rng).max(1))
    }
}

/// Two numbers in one: from a single one whoever sees it could compute the stream and its seed.
fn fold(rng: &mut Rng) -> u64 {
    rng.next_u64() ^ rng.next_u64().rotate_left(32)
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}
