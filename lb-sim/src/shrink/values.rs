//! Simpler values: sooner, shorter, fewer, and fixed instead of drawn.

use std::time::Duration;

use lb_config::quantity::{duration, show_duration};
use toml::{Table, Value};

use crate::document::{Path, Step, at, at_mut, paths, written};
use crate::scenario;

use super::Shrinker;

/// Numbers outside of configurations that may be halved. Others say how, and not how much.
const COUNTS: [&str; 9] =
    ["rate", "users", "concurrency", "queue", "times", "tries", "requests", "count", "connections"];
/// Halving stops here: what follows says nothing more about a scenario.
const RATE_MIN: f64 = 1.0;
const DURATION_MIN: Duration = Duration::from_millis(1);
/// What a run may go on for when everything is over.
const COAST: Duration = Duration::from_secs(1);

impl Shrinker<'_> {
    /// Lets everything happen sooner, and the run end sooner.
    pub(super) fn hasten(&mut self) -> bool {
        let happens: Vec<Path> = paths(&self.root).into_iter().filter(|it| is_time(it)).collect();
        let first =
            happens.iter().filter_map(|it| span_at(&self.root, it)).min().unwrap_or_default();
        let mut changed = false;
        for shift in
            [first, first / 2, first / 4].map(rounded).into_iter().filter(|it| !it.is_zero())
        {
            let mut root = self.root.clone();
            let ends = vec![Step::Key("duration".to_owned())];
            for path in happens.iter().chain([&ends]) {
                let Some(at) = span_at(&root, path) else { continue };
                put(&mut root, path, at.saturating_sub(shift));
            }
            if self.accept(root) {
                changed = true;
                break;
            }
        }
        let text = written(&[""], &self.root);
        let (scenario, _) = scenario::load(&lb_config::Source { name: "", text: &text });
        if let Some(scenario) = scenario {
            let mut root = self.root.clone();
            let ends =
                scenario.recovered().max(scenario.first_fault().min(scenario.duration / 2)) + COAST;
            if ends < scenario.duration {
                put(&mut root, &[Step::Key("duration".to_owned())], ends);
                changed |= self.accept(root);
            }
        }
        changed
    }

    /// Tries simpler values in the place of one.
    pub(super) fn simplify(&mut self, path: &[Step]) -> bool {
        let is_config = path.iter().any(|step| *step == Step::Key("config".to_owned()));
        let mut changed = false;
        while let Some(value) = at(&self.root, path).filter(|_| !is_config) {
            let better = simpler(path, value).into_iter().any(|simpler| {
                let mut root = self.root.clone();
                if let Some(place) = at_mut(&mut root, path) {
                    *place = simpler;
                }
                self.accept(root)
            });
            if !better {
                break;
            }
            changed = true;
        }
        changed
    }
}

/// What may stand in the place of a value, the simplest first; each is less than it.
fn simpler(path: &[Step], value: &Value) -> Vec<Value> {
    let Some(Step::Key(key)) = path.last() else { return Vec::new() };
    match value {
        // A distribution: one of its durations stands for it.
        Value::Table(table) => {
            let fixed = ["lognormal", "exponential", "often", "min"];
            fixed
                .iter()
                .filter_map(|key| table.get(*key))
                .filter(|it| it.is_str())
                .cloned()
                .collect()
        }
        Value::String(text) => {
            let Some(span) = duration(text).ok().filter(|it| *it > DURATION_MIN) else {
                return Vec::new();
            };
            let less = [rounded(span / 2), rounded(span.mul_f64(0.75)), rounded(span)];
            let less = less.into_iter().filter(|it| *it < span && *it >= DURATION_MIN);
            less.map(|it| Value::String(show_duration(it))).collect()
        }
        Value::Integer(2..) if COUNTS.contains(&key.as_str()) => {
            let Value::Integer(count) = value else { return Vec::new() };
            vec![Value::Integer(1), Value::Integer(count / 2)]
        }
        Value::Float(number) if COUNTS.contains(&key.as_str()) && *number > RATE_MIN => {
            let half = libm::floor(number / 2.0);
            let whole = libm::floor(*number);
            let less = [half, whole].into_iter().filter(|it| *it >= RATE_MIN && it < number);
            less.map(Value::Float).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a path leads to the time of something that happens.
fn is_time(path: &[Step]) -> bool {
    let is = |step: &Step, key: &str| *step == Step::Key(key.to_owned());
    let lists = ["fault", "action", "attack", "surge"];
    let [.., list, Step::Nth(_), last] = path else { return false };
    is(last, "at") && lists.iter().any(|key| is(list, key))
}

fn span_at(root: &Table, path: &[Step]) -> Option<Duration> {
    duration(at(root, path)?.as_str()?).ok()
}

fn put(root: &mut Table, path: &[Step], span: Duration) {
    if let Some(place) = at_mut(root, path) {
        *place = Value::String(show_duration(span));
    }
}

/// Without more digits than anybody would write: two.
fn rounded(span: Duration) -> Duration {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let unit = 10_u64.pow(micros.checked_ilog10().unwrap_or(0).saturating_sub(1));
    Duration::from_micros(micros / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn less(key: &str, value: &Value) -> Vec<Value> {
        simpler(&[Step::Key(key.to_owned())], value)
    }

    #[test]
    fn every_simpler_value_is_less_so_that_shrinking_ends() {
        let text = |it: &str| Value::String(it.to_owned());
        assert_eq!(less("for", &text("6s250ms")), ["3s100ms", "4s600ms", "6s200ms"].map(text));
        assert_eq!(less("for", &text("1ms")), []);
        assert_eq!(less("kind", &text("crash")), []);
        assert_eq!(less("rate", &Value::Float(3.5)), [1.0, 3.0].map(Value::Float));
        assert_eq!(less("users", &Value::Integer(9)), [1, 4].map(Value::Integer));
        assert_eq!(less("code", &Value::Integer(503)), []);
        let drawn = "latency = { lognormal = \"10ms\", sigma = 0.5 }".parse::<Table>();
        let drawn = drawn.expect("it is TOML");
        assert_eq!(less("latency", &drawn["latency"]), [text("10ms")]);
    }
}
