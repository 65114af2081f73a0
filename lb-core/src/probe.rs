//! Active health checks: when a backend is asked how it is, and what follows from its answers.
//!
//! A backend is healthy until checks say otherwise: `fall` bad ones in a row take it out, `rise`
//! good ones bring it back. Checks of many backends are spread over the interval, and each comes a
//! little early or late, so that several proxies do not ask in step.
//!
//! Where no path was given, the usual ones are asked in order until one answers well, and that one is
//! remembered. A server that has none of them but answers something below 500 is reachable, and
//! reachable is healthy: nobody loses a backend for lack of a page that it was never asked to have.

use core::time::Duration;

use crate::config::{PATHS, ProbeConfig, ProbeKind};
use crate::rng::Rng;
use crate::time::{Time, micros};
use crate::word::Word;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A connection came about, where no more was asked.
    Connected,
    /// An answer with this status; whether its body has what it must.
    Answered {
        /// The status.
        status: u16,
        /// Whether the body contains what is expected.
        body: bool,
    },
    /// No answer in time, or no connection.
    Nothing,
}

/// A check that came to an answer, or to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Checked {
    /// How many checks of this backend there were before.
    pub round: u64,
    /// When it was due.
    pub began: Time,
    /// How long the last answer took.
    pub took: Duration,
    /// What was found.
    pub found: Found,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Ask for another path, within the same check.
    Ask(&'static str),
    /// The check is over. The next begins then.
    Wait(Time),
}

/// Checks in a row, and the path that answers.
///
/// The working: 8 bits each for good and bad checks in a row, 8 for the path (one more than its place
/// in [`PATHS`]; 0 as long as none is known), 8 for the path under way while none is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streak {
    good: u8,
    bad: u8,
    path: u8,
    asking: u8,
}

impl Streak {
    /// Whether the last check was a bad one.
    pub(crate) const fn fails(self) -> bool {
        self.bad > 0
    }

    /// Whether it was good in every check up to this one, and in too few of them to be trusted.
    pub(crate) fn is_rising_since_the_first(self, round: u64, config: &ProbeConfig) -> bool {
        u64::from(self.good) == round + 1 && self.good < config.rise
    }

    /// The path to begin a check with.
    pub(crate) fn path(self, config: &ProbeConfig) -> &str {
        match &config.kind {
            ProbeKind::Http { path: Some(path), .. } => path,
            ProbeKind::Http { path: None, .. } => PATHS[usize::from(self.path.saturating_sub(1))],
            ProbeKind::Tcp => "",
        }
    }

    /// Takes an answer into account; `Some` path is to be asked next, within the same check.
    pub(crate) fn answered(
        self,
        found: Found,
        config: &ProbeConfig,
    ) -> (Self, Option<&'static str>) {
        let is_auto = matches!(config.kind, ProbeKind::Http { path: None, .. });
        let asked = if self.path > 0 { self.path - 1 } else { self.asking };
        if judge(found, config) {
            let path = if is_auto { asked + 1 } else { 0 };
            return (Self { path, asking: 0, ..self.struck(true) }, None);
        }
        let Found::Answered { status, .. } = found else {
            return (Self { asking: 0, ..self.struck(false) }, None);
        };
        if !is_auto {
            return (self.struck(false), None);
        }
        // Where the path that was known no longer answers well, the search begins anew.
        let next = if self.path > 0 { u8::from(self.path == 1) } else { asked + 1 };
        match PATHS.get(usize::from(next)) {
            Some(path) => (Self { path: 0, asking: next, ..self }, Some(path)),
            None => (Self { path: 0, asking: 0, ..self.struck(status < 500) }, None),
        }
    }

    /// From one check to the next: who has been well for long is asked less often.
    fn interval(self, config: &ProbeConfig) -> Duration {
        let Some(longest) = config.interval_max else { return config.interval };
        let mut interval = config.interval;
        for _ in 0..self.good.saturating_sub(config.rise) {
            interval = interval + interval / 2;
            if interval >= longest {
                return longest;
            }
        }
        interval.min(longest)
    }

    fn struck(self, good: bool) -> Self {
        match good {
            true => Self { good: self.good.saturating_add(1), bad: 0, ..self },
            false => Self { good: 0, bad: self.bad.saturating_add(1), ..self },
        }
    }

    /// Whether the backend is unhealthy from now on, if that changes.
    pub(crate) const fn moves(self, unhealthy: bool, config: &ProbeConfig) -> Option<bool> {
        if unhealthy && self.good >= config.rise {
            Some(false)
        } else if !unhealthy && self.bad >= config.fall {
            Some(true)
        } else {
            None
        }
    }
}

pub(crate) fn judge(found: Found, config: &ProbeConfig) -> bool {
    match (&config.kind, found) {
        (_, Found::Nothing) => false,
        (ProbeKind::Tcp, _) => true,
        (ProbeKind::Http { expect, .. }, Found::Answered { status, body }) => {
            expect.contains(status) && body
        }
        (ProbeKind::Http { .. }, Found::Connected) => false,
    }
}

/// When the `round`-th check of a backend begins: the first anywhere within an interval, the others
/// an interval after the last began, a tenth more or less.
pub(crate) fn wait(config: &ProbeConfig, round: u64, streak: Streak, rng: &mut Rng) -> Duration {
    let interval = micros(streak.interval(config));
    Duration::from_micros(match round {
        0 => rng.up_to(interval),
        _ => interval - interval / 10 + rng.up_to(interval / 5),
    })
}

impl Word for Streak {
    fn pack(self) -> u64 {
        u64::from(u32::from_be_bytes([self.good, self.bad, self.path, self.asking]))
    }

    fn unpack(bits: u64) -> Self {
        let bits = u32::try_from(bits).expect("32 bits were packed");
        let [good, bad, path, asking] = bits.to_be_bytes();
        Self { good, bad, path, asking }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn answered(status: u16) -> Found {
        Found::Answered { status, body: true }
    }

    /// The paths that a check asks for where `answers` says what each gets, and what it comes to.
    fn check(streak: Streak, answers: impl Fn(&str) -> Found) -> (Streak, Vec<&'static str>) {
        let config = ProbeConfig::default();
        let first = PATHS.iter().find(|path| **path == streak.path(&config)).expect("one of them");
        let mut asked = alloc::vec![*first];
        let mut streak = streak;
        loop {
            let path = asked.last().expect("one was asked");
            let (next, more) = streak.answered(answers(path), &config);
            assert_eq!(Streak::unpack(next.pack()), next);
            streak = next;
            match more {
                Some(path) => asked.push(path),
                None => return (streak, asked),
            }
        }
    }

    #[test]
    fn the_path_that_answers_well_is_found_and_remembered() {
        let at_ping = |path: &str| answered(if path == "/ping" { 204 } else { 404 });
        let (streak, asked) = check(Streak::default(), at_ping);
        assert_eq!(asked, ["/health", "/healthz", "/health-check", "/status", "/ping"]);
        assert_eq!((streak.good, streak.bad), (1, 0));
        let (streak, asked) = check(streak, at_ping);
        assert_eq!((asked, streak.good), (alloc::vec!["/ping"], 2));
        // It moved: the search begins anew.
        let at_health = |path: &str| answered(if path == "/health" { 200 } else { 404 });
        let (streak, asked) = check(streak, at_health);
        assert_eq!((asked, streak.good), (alloc::vec!["/ping", "/health"], 3));
        assert_eq!(check(streak, at_health).1, ["/health"]);
    }

    #[test]
    fn a_server_without_any_of_the_paths_is_healthy_as_long_as_it_answers() {
        let (streak, asked) = check(Streak::default(), |_| answered(404));
        assert_eq!(asked, PATHS);
        assert_eq!((streak.good, streak.bad), (1, 0), "reachable");
        let (streak, asked) = check(streak, |_| answered(404));
        assert_eq!((asked.len(), streak.good), (PATHS.len(), 2));
        let (streak, _) = check(streak, |_| answered(503));
        assert_eq!((streak.good, streak.bad), (0, 1), "ill on all of them");
        let (streak, asked) = check(streak, |_| Found::Nothing);
        assert_eq!((asked.len(), streak.bad), (1, 2), "who is not there is asked once");
    }

    #[test]
    fn it_falls_and_rises_after_as_many_as_were_asked_for() {
        let path = Some("/up".into());
        let kind = ProbeKind::Http {
            path,
            head: false,
            expect: crate::config::StatusSet::GOOD,
            expect_body: None,
            headers: Vec::new(),
        };
        let config = ProbeConfig { kind, rise: 2, fall: 3, ..ProbeConfig::default() };
        let mut streak = Streak::default();
        let mut unhealthy = false;
        let mut states = Vec::new();
        for status in [200, 500, 500, 200, 500, 404, 503, 200, 500, 200, 302, 200] {
            (streak, _) = streak.answered(answered(status), &config);
            unhealthy = streak.moves(unhealthy, &config).unwrap_or(unhealthy);
            states.push(unhealthy);
        }
        let expected = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0].map(|it| it == 1);
        assert_eq!(states, expected);
        let body = Found::Answered { status: 200, body: false };
        assert_eq!(streak.answered(body, &config).0.bad, 1, "the body has to be good as well");
    }

    #[test]
    fn who_is_well_for_long_is_asked_less_often_until_it_is_not() {
        let interval_max = Some(Duration::from_secs(100));
        let kind = ProbeKind::Tcp;
        let config = ProbeConfig { kind, interval_max, rise: 2, ..ProbeConfig::default() };
        let mut streak = Streak::default();
        let mut seconds = Vec::new();
        for found in [Found::Connected; 7].into_iter().chain([Found::Nothing, Found::Connected]) {
            (streak, _) = streak.answered(found, &config);
            seconds.push(streak.interval(&config).as_secs());
        }
        assert_eq!(seconds, [30, 30, 45, 67, 100, 100, 100, 30, 30]);
    }

    #[test]
    fn checks_are_spread_and_come_within_a_tenth() {
        let config = ProbeConfig::default();
        let mut rng = Rng::stream(7, 7);
        let firsts: Vec<Duration> =
            (0..100).map(|_| wait(&config, 0, Streak::default(), &mut rng)).collect();
        let early = firsts.iter().filter(|wait| **wait < config.interval / 2).count();
        assert!((30..70).contains(&early), "{early} of 100 in the first half");
        for round in 1..1_000 {
            let wait = wait(&config, round, Streak::default(), &mut rng);
            assert!((27..=33).contains(&wait.as_secs()), "{wait:?}");
        }
    }
}
