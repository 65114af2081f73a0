//! Why an attempt went where it went, as the access log tells it.

use std::time::Duration;

use lb_core::{Choice, How, Steered};
use serde::Serialize;

/// Why a backend was chosen.
#[derive(Default, Serialize)]
pub(super) struct Why<'l> {
    pool: &'l str,
    /// Why that pool, where it is not simply the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    steered: Option<&'static str>,
    how: &'static str,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hedge: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    than: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    than_in_flight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hot_above: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    than_latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_ms: Option<f64>,
    /// Its share of the die.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

impl<'l> Why<'l> {
    /// `other` names a place of the service.
    pub(super) fn new(choice: Choice, pool: &'l str, other: impl Fn(u16) -> &'l str) -> Self {
        let Choice { role, steered, how, again, hedge, .. } = choice;
        let ms = |micros: u32| millis(Duration::from_micros(u64::from(micros)));
        let why = Self {
            pool,
            steered: (steered != Steered::Order).then(|| steered.as_str()),
            how: how.as_str(),
            role: role.as_str(),
            again: again.then_some(true),
            hedge: hedge.then_some(true),
            ..Self::default()
        };
        match how {
            How::LessLoaded { in_flight, than, than_in_flight } => Self {
                in_flight: Some(in_flight),
                than: Some(other(than)),
                than_in_flight: Some(than_in_flight),
                ..why
            },
            How::Sooner { micros, than, than_micros } => Self {
                latency_ms: Some(ms(micros)),
                than: Some(other(than)),
                than_latency_ms: Some(ms(than_micros)),
                ..why
            },
            How::Least { in_flight } => Self { in_flight: Some(in_flight), ..why },
            How::Cold { in_flight, hot_above, micros } => Self {
                in_flight: Some(in_flight),
                hot_above: Some(hot_above),
                latency_ms: micros.map(ms),
                ..why
            },
            How::Soonest { micros } => Self { check_ms: micros.map(ms), ..why },
            How::Scored { share } => Self { share: Some(f64::from(share) / 1_000.0), ..why },
            How::Turn
            | How::Weight
            | How::First
            | How::Key
            | How::KeyNext
            | How::Only
            | How::Same
            | How::Session => why,
        }
    }
}

/// Milliseconds with three digits behind the point.
#[expect(clippy::cast_precision_loss, reason = "an exchange is shorter than 2⁵² µs")]
pub(super) fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

/// One attempt, as the access log says it.
#[derive(Serialize)]
pub(super) struct AttemptLine<'l> {
    pub(super) backend: &'l str,
    pub(super) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ms: Option<f64>,
    pub(super) why: Why<'l>,
}
