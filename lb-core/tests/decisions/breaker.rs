//! The breaker against a naive model of itself, in every state that small settings can reach; and
//! each of its promises by itself.

use core::time::Duration;
use std::collections::BTreeSet;

use expect_test::expect;
use lb_core::config::{BreakerConfig, TRIALS_MAX};
use lb_core::{Breaker, BreakerState, Declined, Permit, Role, Time, Verdict, Word};
use proptest::prelude::*;

use crate::support::cases;

const VERDICTS: [Verdict; 3] = [Verdict::Success, Verdict::Failure, Verdict::Abandoned];
const ROLES: [Role; 3] = [Role::Normal, Role::Trial, Role::Panic];

fn config(consecutive_failures: u16, half_open_trials: u8, successes: u8) -> BreakerConfig {
    BreakerConfig {
        consecutive_failures,
        open_for: Duration::from_secs(1),
        open_for_max: Duration::from_secs(3),
        half_open_trials,
        half_open_successes: successes,
        error_rate: None,
    }
}

/// The rules again, in plain fields with room to count for ever. It remembers how long the last
/// opening was where the breaker works it out, and knows no bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Model {
    state: BreakerState,
    era: u64,
    failures: u64,
    trials: u64,
    successes: u64,
    /// The beat of 16 ms in which a trial began last.
    began: u64,
    /// Microseconds that the next opening lasts, if there is no calm before.
    next_open: u64,
    last_open: u64,
    until: u64,
    calm_at: u64,
}

impl Model {
    fn new(config: &BreakerConfig) -> Self {
        Self {
            state: BreakerState::Closed,
            era: 0,
            failures: 0,
            trials: 0,
            successes: 0,
            began: 0,
            next_open: micros(config.open_for),
            last_open: 0,
            until: 0,
            calm_at: 0,
        }
    }

    fn admit(&mut self, now: Time, config: &BreakerConfig) -> Result<Role, Declined> {
        if self.state == BreakerState::Closed {
            return Ok(Role::Normal);
        }
        if self.state == BreakerState::Open {
            if now.as_micros() < self.until {
                return Err(Declined::Until(Time::from_micros(self.until)));
            }
            self.state = BreakerState::HalfOpen;
            self.era += 1;
            self.trials = 0;
            self.successes = 0;
        }
        let beat = now.as_micros() / 16_000;
        if self.trials == u64::from(config.half_open_trials) {
            if beat == self.began || (beat - self.began - 1) * 16 < 1_000 {
                return Err(Declined::TrialsTaken);
            }
            self.trials = 0;
        }
        self.trials += 1;
        self.began = beat;
        Ok(Role::Trial)
    }

    fn judge(&mut self, role: Role, verdict: Verdict, now: Time, config: &BreakerConfig) {
        if self.state == BreakerState::Closed && verdict != Verdict::Abandoned {
            if now.as_micros() >= self.calm_at {
                self.next_open = micros(config.open_for);
            }
            self.failures += 1;
            if verdict == Verdict::Success {
                self.failures = 0;
            } else if self.failures == u64::from(config.consecutive_failures) {
                self.open(now, config);
            }
        } else if self.state == BreakerState::HalfOpen && role == Role::Trial {
            self.trials -= 1;
            if verdict == Verdict::Failure {
                self.open(now, config);
            } else if verdict == Verdict::Success {
                self.successes += 1;
                if self.successes == u64::from(config.half_open_successes) {
                    self.state = BreakerState::Closed;
                    self.era += 1;
                    self.failures = 0;
                    self.calm_at = round_up(now.as_micros() + self.last_open, 1_000_000);
                }
            }
        }
    }

    fn open(&mut self, now: Time, config: &BreakerConfig) {
        self.state = BreakerState::Open;
        self.era += 1;
        self.last_open = self.next_open.min(micros(config.open_for_max));
        self.next_open *= 2;
        self.until = round_up(now.as_micros() + self.last_open, 1_000);
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("a short span")
}

fn round_up(micros: u64, unit: u64) -> u64 {
    micros.div_ceil(unit) * unit
}

fn assert_same(breaker: Breaker, model: &Model, how: &dyn core::fmt::Debug) {
    let is = |state| model.state == state;
    assert_eq!(breaker.state(), model.state, "{how:?}");
    let failures = if is(BreakerState::Closed) { model.failures } else { 0 };
    assert_eq!(u64::from(breaker.failures()), failures, "{how:?}");
    let trials = if is(BreakerState::HalfOpen) { model.trials } else { 0 };
    assert_eq!(u64::from(breaker.trials()), trials, "{how:?}");
    let until = is(BreakerState::Open).then_some(Time::from_micros(model.until));
    assert_eq!(breaker.open_until(), until, "{how:?}");
    assert_eq!(Breaker::unpack(breaker.pack()), breaker, "a round trip: {how:?}");
}

/// A permit of the breaker's own era, in any role.
fn permit(breaker: Breaker, role: Role) -> Permit {
    let mut permit = breaker.permit();
    permit.role = role;
    permit
}

/// Whether a request in this role may be under way in the breaker's present era.
fn may_be_under_way(breaker: Breaker, role: Role) -> bool {
    match role {
        Role::Normal => breaker.state() == BreakerState::Closed,
        Role::Trial => breaker.trials() > 0,
        Role::Panic => true,
    }
}

/// All that can happen to a breaker within `TICKS` of half a second and a microsecond; returns how
/// many different states it was seen in.
fn explore(config: &BreakerConfig) -> usize {
    const TICKS: u64 = 21;
    let mut seen = BTreeSet::new();
    // The last one is a breaker of a past era.
    let mut open = vec![(Breaker::new(), Model::new(config), 0, None::<Breaker>)];
    while let Some((breaker, model, tick, past)) = open.pop() {
        if tick == TICKS || !seen.insert((breaker.pack(), model.clone(), tick)) {
            continue;
        }
        let now = Time::from_micros(tick * 500_001);
        let mut enter = |to: Breaker, model: Model, tick| {
            let moved = to.state() != breaker.state();
            open.push((to, model, tick, if moved { Some(breaker) } else { past }));
        };
        enter(breaker, model.clone(), tick + 1);
        assert_admits_as_modelled(breaker, &model, now, config, &mut |to, model| {
            enter(to, model, tick);
        });
        for (role, verdict) in ROLES.into_iter().flat_map(|r| VERDICTS.map(|v| (r, v))) {
            if let Some(past) = past {
                let straggler = permit(past, role);
                assert_eq!(breaker.judge(straggler, verdict, now, config), None, "{straggler:?}");
            }
            if may_be_under_way(breaker, role) {
                let mut judged = model.clone();
                judged.judge(role, verdict, now, config);
                let to = breaker.judge(permit(breaker, role), verdict, now, config);
                let how = (breaker, role, verdict, tick, config);
                assert_same(to.unwrap_or(breaker), &judged, &how);
                assert_eq!(to.is_some(), judged != model, "told when something changed: {how:?}");
                to.into_iter().for_each(|to| enter(to, judged.clone(), tick));
            }
        }
    }
    seen.len()
}

fn assert_admits_as_modelled(
    breaker: Breaker,
    model: &Model,
    now: Time,
    config: &BreakerConfig,
    enter: &mut dyn FnMut(Breaker, Model),
) {
    let edge = breaker.open_until().map(Time::as_micros);
    let edges = edge.iter().flat_map(|until| [until - 1, *until]).map(Time::from_micros);
    for at in edges.chain([now]) {
        let mut admitted = model.clone();
        let role = admitted.admit(at, config);
        let to = breaker.admit(at, config);
        let how = (breaker, at, config);
        assert_eq!(to.map(|to| to.permit().role), role, "{how:?}");
        let Ok(to) = to else { continue };
        assert_same(to, &admitted, &how);
        assert!(to.trials() <= config.half_open_trials, "{how:?}");
        assert_eq!(to.permit(), permit(to, to.permit().role), "a permit is of its own era");
        if at == now {
            enter(to, admitted);
        }
    }
}

#[test]
fn every_reachable_state_moves_as_the_model_says() {
    let mut states = 0;
    for failures in 1..=3 {
        for trials in 1..=2 {
            for successes in 1..=3 {
                states += explore(&config(failures, trials, successes));
            }
        }
    }
    // No promise, but a fall would mean that exploring stopped early.
    expect!["1771686"].assert_eq(&states.to_string());
}

/// A breaker opened by one failure at `now`.
fn opened(breaker: Breaker, now: Time, config: &BreakerConfig) -> Breaker {
    breaker.judge(breaker.permit(), Verdict::Failure, now, config).expect("it was closed")
}

#[test]
fn a_straggler_neither_closes_a_breaker_on_trial_nor_opens_it_again() {
    let config = config(1, 2, 1);
    let closed = Breaker::new();
    let straggler = closed.permit();
    let open = opened(closed, Time::ZERO, &config);
    let trial = open.admit(Time::from_millis(1_000), &config).expect("its time is over");
    let closed_again = trial
        .judge(trial.permit(), Verdict::Success, Time::from_millis(1_100), &config)
        .expect("a trial counts");
    for breaker in [open, trial, closed_again] {
        for verdict in VERDICTS {
            assert_eq!(breaker.judge(straggler, verdict, Time::from_millis(1_200), &config), None);
        }
    }
    // The second of two trials comes back after the first has closed the breaker.
    for verdict in VERDICTS {
        assert_eq!(closed_again.judge(trial.permit(), verdict, Time::MAX, &config), None);
    }
}

#[test]
fn an_abandoned_trial_gives_its_place_back_and_proves_nothing() {
    let config = config(1, 1, 2);
    let at = Time::from_millis(1_000);
    let first = opened(Breaker::new(), Time::ZERO, &config).admit(at, &config).expect("due");
    assert_eq!(first.admit(at, &config), Err(Declined::TrialsTaken));
    let left = first.judge(first.permit(), Verdict::Abandoned, Time::ZERO, &config);
    let left = left.expect("a place came back");
    assert_eq!((left.state(), left.trials()), (BreakerState::HalfOpen, 0));

    // Two successes are asked for: neither an abandoned trial nor what panic sent is one.
    let second = left.admit(at, &config).expect("a free place");
    assert_eq!(second.judge(second.waive(), Verdict::Success, at, &config), None);
    let second = second.judge(second.permit(), Verdict::Success, at, &config).expect("counted");
    assert_eq!(second.state(), BreakerState::HalfOpen);
    let third = second.admit(at, &config).expect("a free place");
    let closed = third.judge(third.permit(), Verdict::Success, at, &config).expect("counted");
    assert_eq!(closed.state(), BreakerState::Closed);
}

#[test]
fn a_trial_that_shows_nothing_keeps_others_out_for_a_while_and_counts_when_it_does() {
    let config = config(1, 1, 2);
    let at = Time::from_millis;
    let first = opened(Breaker::new(), Time::ZERO, &config).admit(at(1_000), &config).expect("due");
    assert_eq!(first.admit(at(2_000), &config), Err(Declined::TrialsTaken));
    let second = first.admit(at(2_016), &config).expect("the first has had its time");
    assert_eq!((second.trials(), second.permit().role), (1, Role::Trial));
    assert_eq!(second.admit(at(3_001), &config), Err(Declined::TrialsTaken));

    // The first ends: the place is not its own any more, and what it shows counts.
    let left = second.judge(first.permit(), Verdict::Abandoned, at(3_000), &config);
    let left = left.unwrap_or(second);
    assert_eq!(left.admit(at(3_001), &config), Err(Declined::TrialsTaken));
    let shown =
        second.judge(first.permit(), Verdict::Success, at(3_000), &config).expect("counted");
    assert_eq!((shown.state(), shown.trials()), (BreakerState::HalfOpen, 1));
    let closed = shown.judge(second.permit(), Verdict::Success, at(3_000), &config);
    assert_eq!(closed.expect("counted").state(), BreakerState::Closed);
    let failed = second.judge(first.permit(), Verdict::Failure, at(3_000), &config);
    assert_eq!(failed.expect("counted").state(), BreakerState::Open);
}

/// The bits of a round come to an end, and a trial that has hung for that long is of none of the next.
#[test]
fn a_trial_from_many_rounds_ago_gives_back_nobodys_place() {
    let config = config(1, 1, 1);
    let open = opened(Breaker::new(), Time::ZERO, &config);
    let mut breaker = open.admit(Time::from_millis(1_000), &config).expect("due");
    let mut permits = vec![breaker.permit()];
    for trial in 1..200 {
        let now = Time::from_millis(1_000 + 2_000 * trial);
        breaker = breaker.admit(now, &config).expect("the others have had their time");
        for earlier in &permits {
            let ended = breaker.judge(*earlier, Verdict::Abandoned, now, &config);
            let taken = ended.unwrap_or(breaker).admit(now, &config);
            assert_eq!(taken, Err(Declined::TrialsTaken), "{trial}: {earlier:?}");
        }
        permits.push(breaker.permit());
        assert_eq!(Breaker::unpack(breaker.pack()), breaker);
    }
}

#[test]
fn the_highest_bound_of_trials_is_kept() {
    let config = config(1, TRIALS_MAX, TRIALS_MAX);
    let at = Time::from_millis(1_000);
    let mut breaker = opened(Breaker::new(), Time::ZERO, &config);
    for trials in 1..=TRIALS_MAX {
        breaker = Breaker::unpack(breaker.admit(at, &config).expect("a free place").pack());
        assert_eq!(breaker.trials(), trials);
    }
    assert_eq!(breaker.admit(at, &config), Err(Declined::TrialsTaken));
    for left in (1..TRIALS_MAX).rev() {
        breaker = breaker.judge(breaker.permit(), Verdict::Success, at, &config).expect("counted");
        assert_eq!((breaker.state(), breaker.trials()), (BreakerState::HalfOpen, left));
    }
    breaker = breaker.judge(breaker.permit(), Verdict::Success, at, &config).expect("counted");
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn open_time_doubles_is_capped_and_is_forgotten_after_calm() {
    let config = BreakerConfig { open_for_max: Duration::from_secs(20), ..config(1, 1, 1) };
    let mut breaker = Breaker::new();
    let mut now = Time::ZERO;
    let mut told = String::new();
    let mut fail_after = |calm: Duration| {
        now = now + calm;
        breaker = opened(breaker, now, &config);
        let until = breaker.open_until().expect("it opened");
        told += &format!("after {calm:?} closed, open for {:?}\n", until - now);
        now = until;
        breaker = breaker.admit(now, &config).expect("due");
        breaker = breaker.judge(breaker.permit(), Verdict::Success, now, &config).expect("counted");
    };
    let ms = Duration::from_millis;
    // Calm is as long as the last opening was, up to the next whole second.
    let calms = [0, 0, 1_999, 3_999, 7_999, 15_999, 19_999, 21_000, 0, 3_000];
    calms.into_iter().map(ms).for_each(&mut fail_after);
    expect![[r#"
        after 0ns closed, open for 1s
        after 0ns closed, open for 2s
        after 1.999s closed, open for 4s
        after 3.999s closed, open for 8s
        after 7.999s closed, open for 16s
        after 15.999s closed, open for 20s
        after 19.999s closed, open for 20s
        after 21s closed, open for 1s
        after 0ns closed, open for 2s
        after 3s closed, open for 1s
    "#]]
    .assert_eq(&told);
}

#[test]
fn the_longest_settings_fit_into_the_word() {
    let day = Duration::from_secs(24 * 3600);
    let config = BreakerConfig { open_for: 7 * day, open_for_max: 7 * day, ..config(1, 1, 1) };
    for start in [Time::ZERO, Time::MAX] {
        let mut breaker = Breaker::new();
        let mut now = start;
        for _ in 0..40 {
            breaker = Breaker::unpack(opened(breaker, now, &config).pack());
            assert_eq!(breaker.state(), BreakerState::Open);
            now = now.max(breaker.open_until().expect("it is open"));
            breaker = breaker.admit(now, &config).expect("due");
            let success = breaker.judge(breaker.permit(), Verdict::Success, now, &config);
            breaker = Breaker::unpack(success.expect("counted").pack());
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
    }
}

#[test]
fn eras_come_round_after_16384_moves_and_not_before() {
    let config = BreakerConfig { open_for: Duration::ZERO, ..config(1, 1, 1) };
    let straggler = Breaker::new().permit();
    let mut breaker = Breaker::new();
    for moves in 1_u32.. {
        breaker = match breaker.state() {
            BreakerState::Closed => opened(breaker, Time::ZERO, &config),
            BreakerState::Open => breaker.admit(Time::ZERO, &config).expect("due"),
            BreakerState::HalfOpen => breaker
                .judge(breaker.permit(), Verdict::Success, Time::ZERO, &config)
                .expect("counted"),
        };
        let same_era = breaker.waive() == permit(breaker, Role::Panic)
            && permit(breaker, Role::Normal) == straggler;
        assert_eq!(same_era, moves == 16_384, "after {moves} moves");
        if same_era {
            break;
        }
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn every_field_survives_the_word_at_its_bounds(
        state in 0..3_u64,
        era in prop_oneof![Just(0_u64), Just((1 << 14) - 1), 0..1_u64 << 14],
        level in 0..16_u64,
        rest in prop_oneof![Just(0_u64), Just((1 << 44) - 1), 0..1_u64 << 44],
    ) {
        let bits = state << 62 | era << 48 | level << 44 | rest;
        let breaker = Breaker::unpack(bits);
        prop_assert_eq!(breaker.pack(), bits);
        prop_assert_eq!(Breaker::unpack(breaker.pack()), breaker);
        let fields = match breaker.state() {
            BreakerState::Closed => (0, u64::from(breaker.failures()) == rest & 0x7ff),
            BreakerState::Open => {
                let until = Time::from_millis(rest & ((1 << 43) - 1));
                (1, breaker.open_until() == Some(until) && breaker.answers() == (rest >> 43 == 1))
            }
            BreakerState::HalfOpen => (2, u64::from(breaker.trials()) == rest & 0x7f),
        };
        prop_assert_eq!(fields, (state, true));
        let neighbour = Breaker::unpack(bits ^ 1 << 48);
        prop_assert_ne!(breaker.permit(), neighbour.permit());
    }
}
