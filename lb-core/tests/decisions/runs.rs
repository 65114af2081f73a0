//! Legal runs of many exchanges at once that chance invents, watched by a ledger which knows only
//! what was told and what was done.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use lb_core::config::{
    BreakerConfig, BudgetConfig, Jitter, Policy, ServiceConfig, StatusSet, WhenAllUnfit,
};
use lb_core::{
    Ask, BackendId, Body, BodyEnd, BreakerState, Event, Exchange, ExchangeId, Failure, Observe,
    Outcome, Reach, Repeat, Rng, Role, Service, Step, Time,
};
use proptest::prelude::*;

use crate::support::{Log, POLICIES, cases, config, in_flight, service};

const STEPS: u32 = 250;
/// Exchanges under way at once.
const HELD_MAX: usize = 24;

const OUTCOMES: [Outcome; 12] = [
    Outcome::Answered(200),
    Outcome::Answered(200),
    Outcome::Answered(200),
    Outcome::Answered(404),
    Outcome::Answered(500),
    Outcome::Answered(503),
    Outcome::Answered(523),
    Outcome::Failed(Failure::ConnectRefused),
    Outcome::Failed(Failure::ConnectTimeout),
    Outcome::Failed(Failure::Unsent),
    Outcome::Failed(Failure::Reset),
    Outcome::Failed(Failure::FirstByteTimeout),
];

/// What is known of one exchange.
#[derive(Debug)]
struct Entry {
    repeat: Repeat,
    deadline: Time,
    attempts: u8,
    /// The last attempt, if it has not concluded.
    open: Option<BackendId>,
    last: Option<Outcome>,
    delivered: Option<BackendId>,
    rejected: bool,
    ended: bool,
}

/// What must be true of all that is told.
struct Ledger<'c> {
    config: &'c ServiceConfig,
    exchanges: BTreeMap<ExchangeId, Entry>,
    breakers: Vec<BreakerState>,
    /// Requests and decided retries, in order.
    spending: Vec<(Time, Spending)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Spending {
    Request,
    Retry,
}

impl<'c> Ledger<'c> {
    fn new(config: &'c ServiceConfig) -> Self {
        let count = config.pools.iter().map(|pool| pool.backends.len()).sum();
        Self {
            config,
            exchanges: BTreeMap::new(),
            breakers: vec![BreakerState::Closed; count],
            spending: Vec::new(),
        }
    }

    fn entry(&mut self, id: ExchangeId) -> &mut Entry {
        let entry = self.exchanges.get_mut(&id).expect("an exchange starts before all else");
        assert!(!entry.rejected && !entry.ended, "nothing follows the end: {entry:?}");
        entry
    }

    fn read(&mut self, now: Time, event: &Event, repeat: Repeat) {
        match *event {
            Event::Started { exchange, deadline, .. } => {
                self.spending.push((now, Spending::Request));
                let entry = Entry {
                    repeat,
                    deadline,
                    attempts: 0,
                    open: None,
                    last: None,
                    delivered: None,
                    rejected: false,
                    ended: false,
                };
                assert!(self.exchanges.insert(exchange, entry).is_none(), "one start each");
            }
            Event::Attempted { exchange, attempt, backend, choice, deadline } => {
                let (state, max) =
                    (self.breakers[usize::from(backend.backend)], self.config.retry.attempts_max);
                let entry = self.entry(exchange);
                assert_eq!((attempt, entry.open), (entry.attempts + 1, None), "{entry:?}");
                assert!(attempt <= max && entry.delivered.is_none(), "{entry:?}");
                assert!(now < entry.deadline && deadline <= entry.deadline, "{entry:?}");
                let acted = entry.last.is_some_and(|last| last.reach() == Reach::Maybe);
                assert!(entry.repeat == Repeat::Idempotent || !acted, "sent twice: {entry:?}");
                assert!(match choice.role {
                    Role::Normal => state == BreakerState::Closed,
                    Role::Trial => state == BreakerState::HalfOpen,
                    Role::Panic => self.config.when_all_unfit == WhenAllUnfit::FailOpen,
                });
                let entry = self.entry(exchange);
                (entry.attempts, entry.open) = (attempt, Some(backend));
            }
            Event::Concluded { exchange, attempt, backend, outcome, .. } => {
                let entry = self.entry(exchange);
                assert_eq!((entry.attempts, entry.open.take()), (attempt, Some(backend)));
                entry.last = Some(outcome);
            }
            Event::Delayed { exchange, until } => {
                let entry = self.entry(exchange);
                assert!(entry.open.is_none() && now <= until && until < entry.deadline);
            }
            Event::Withheld { exchange, .. } => {
                let entry = self.entry(exchange);
                assert!(entry.last.is_some() && entry.open.is_none());
            }
            Event::Delivered { exchange, backend, status } => {
                let entry = self.entry(exchange);
                assert_eq!((entry.last, entry.open), (Some(Outcome::Answered(status)), None));
                assert!(entry.delivered.replace(backend).is_none(), "one answer each");
            }
            Event::Rejected { exchange, .. } => {
                let entry = self.entry(exchange);
                assert!(entry.open.is_none() && entry.delivered.is_none(), "{entry:?}");
                entry.rejected = true;
            }
            Event::Ended { exchange, backend, .. } => {
                let entry = self.entry(exchange);
                assert_eq!(entry.delivered, Some(backend));
                entry.ended = true;
            }
            Event::BreakerMoved { backend, from, to } => {
                let state = &mut self.breakers[usize::from(backend.backend)];
                assert_eq!(*state, from, "moves follow each other");
                assert_ne!(from, to);
                *state = to;
            }
            _ => {
                panic!("nobody leaves, waits, checks or compares here")
            }
        }
    }

    /// Every exchange that was followed to its end had exactly one, and told of it.
    fn assert_ended_once(&self, dropped: &BTreeSet<ExchangeId>) {
        for (id, entry) in &self.exchanges {
            assert!(!(entry.rejected && entry.delivered.is_some()), "two ends: {entry:?}");
            if !dropped.contains(id) {
                assert!(entry.rejected || entry.ended, "no end: {entry:?}");
            }
        }
    }

    /// Over every window: retries ≤ burst + percent of requests + min_per_second × its length.
    fn assert_budget_kept(&self) {
        let BudgetConfig { percent, min_per_second, burst } = self.config.retry.budget;
        for (index, (from, first)) in self.spending.iter().enumerate() {
            if *first == Spending::Request && index > 0 {
                continue; // Begun behind this request, the window holds the same retries and allows fewer.
            }
            let (mut requests, mut retries) = (0, 0);
            for (to, spent) in &self.spending[index..] {
                match spent {
                    Spending::Request => requests += 1,
                    Spending::Retry => retries += 1,
                }
                // In parts of 10⁻⁸ retries, so that nothing is rounded.
                let span = u64::try_from((*to - *from).as_micros()).expect("a short run");
                let allowed = u64::from(burst) * 100_000_000
                    + requests * u64::from(percent) * 1_000_000
                    + span * u64::from(min_per_second) * 100;
                assert!(retries * 100_000_000 <= allowed, "{retries} retries in {span} µs");
            }
        }
    }
}

/// A service, the steps of its exchanges that somebody holds, and the dice of the run.
struct Run<'s> {
    service: &'s Service,
    log: &'s Log,
    ledger: Ledger<'s>,
    told: Vec<(Time, Event)>,
    held: Vec<(ExchangeId, Step<'s>)>,
    /// Exchanges whose clients hung up.
    dropped: BTreeSet<ExchangeId>,
    dice: Rng,
    now: Time,
    started: u64,
}

impl<'s> Run<'s> {
    fn repeat(id: u64) -> Repeat {
        if id.is_multiple_of(3) { Repeat::Once } else { Repeat::Idempotent }
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..5 if self.held.len() < HELD_MAX => {
                let id = self.started;
                self.started += 1;
                let ask = Ask::bare(ExchangeId(id), Self::repeat(id));
                let step = Exchange::start(self.service, self.log, ask, self.now);
                self.hold(ask.id, step);
            }
            5..8 => {
                let most = [100, 10_000, 300_000][self.dice.below(3) as usize];
                self.now = self.now + Duration::from_micros(self.dice.below(most).into());
            }
            8 => {
                let left = self.any().map(|(id, _)| id);
                self.dropped.extend(left);
            }
            _ => {
                let Some((id, step)) = self.any() else { return };
                self.follow(id, step);
            }
        }
    }

    fn any(&mut self) -> Option<(ExchangeId, Step<'s>)> {
        let count = u32::try_from(self.held.len()).expect("HELD_MAX is small");
        (count > 0).then(|| self.held.swap_remove(self.dice.below(count) as usize))
    }

    fn hold(&mut self, id: ExchangeId, step: Step<'s>) {
        if !matches!(step, Step::Reject(..)) {
            self.held.push((id, step));
        }
    }

    fn follow(&mut self, id: ExchangeId, step: Step<'s>) {
        match step {
            Step::Attempt(attempt) => {
                let count = u32::try_from(OUTCOMES.len()).expect("a dozen");
                let outcome = OUTCOMES[self.dice.below(count) as usize];
                let body = if self.dice.below(10) == 0 { Body::Spent } else { Body::Intact };
                let next = attempt.finish(outcome, body, self.now);
                if matches!(next, Step::Attempt(_) | Step::Wait(_)) {
                    self.ledger.spending.push((self.now, Spending::Retry));
                }
                self.hold(id, next);
            }
            // Whoever wakes it early is served early.
            Step::Wait(wait) if self.now < wait.until() && self.dice.below(4) > 0 => {
                self.held.push((id, Step::Wait(wait)));
            }
            Step::Wait(wait) => {
                let next = wait.wake(self.now);
                self.hold(id, next);
            }
            Step::Deliver(delivery) => {
                let end = BodyEnd::ALL[self.dice.below(5) as usize];
                delivery.end(end, self.service, self.now, self.log);
            }
            Step::Queue(_) => panic!("nothing is limited here"),
            Step::Reject(..) => {}
        }
    }

    fn check(&mut self) {
        for (at, event) in self.log.take() {
            let repeat = match event {
                Event::Started { exchange, .. } => Self::repeat(exchange.0),
                _ => Repeat::Once,
            };
            self.ledger.read(at, &event, repeat);
            self.told.push((at, event));
        }
        let mut leases = vec![0; self.ledger.breakers.len()];
        for (_, step) in &self.held {
            match step {
                Step::Attempt(attempt) => leases[usize::from(attempt.backend().id().backend)] += 1,
                Step::Deliver(delivery) => {
                    leases[usize::from(delivery.backend().backend)] += 1;
                }
                Step::Wait(wait) => {
                    if let Some(backend) = wait.keeps_answer_of() {
                        leases[usize::from(backend.backend)] += 1;
                    }
                }
                Step::Queue(_) | Step::Reject(..) => {}
            }
        }
        assert_eq!(in_flight(self.service), leases);
        for (backend, told) in self.service.backends().zip(&self.ledger.breakers) {
            let breaker = backend.breaker();
            assert_eq!(breaker.state(), *told, "what was told is what is");
            let max = self.ledger.config.breaker.map_or(0, |breaker| breaker.half_open_trials);
            assert!(breaker.trials() <= max);
            assert!(u32::from(breaker.trials()) <= backend.in_flight(), "a trial holds a lease");
        }
    }
}

/// One run; returns all that was told.
fn run(config: &ServiceConfig, seed: u64) -> Vec<(Time, Event)> {
    let service = service(config);
    let log = Log::default();
    let mut run = Run {
        service: &service,
        log: &log,
        ledger: Ledger::new(config),
        told: Vec::new(),
        held: Vec::new(),
        dropped: BTreeSet::new(),
        dice: Rng::stream(seed, 0),
        now: Time::ZERO,
        started: 0,
    };
    for _ in 0..STEPS {
        run.step();
        run.check();
    }
    run.ledger.assert_budget_kept();
    // Half of the clients stay to the end, the others hang up at once.
    while let Some((id, step)) = run.any() {
        if run.dice.below(2) == 0 {
            run.now = run.now + Duration::from_millis(100);
            run.follow(id, step);
        } else {
            run.dropped.insert(id);
            drop(step);
        }
        run.check();
    }
    assert!(service.backends().all(|backend| backend.in_flight() == 0));
    assert!(service.backends().all(|backend| backend.breaker().trials() == 0));
    run.ledger.assert_ended_once(&run.dropped);
    run.told
}

fn settings() -> impl Strategy<Value = ServiceConfig> {
    let breaker =
        (1..=3_u16, 1..=2_u8, 1..=2_u8).prop_map(|(failures, trials, successes)| BreakerConfig {
            consecutive_failures: failures,
            open_for: Duration::from_millis(50),
            open_for_max: Duration::from_millis(200),
            half_open_trials: trials,
            half_open_successes: successes,
            error_rate: None,
        });
    let budget =
        (0..=60_u32, 0..=20_u32, 0..=10_u32).prop_map(|(percent, min_per_second, burst)| {
            BudgetConfig { percent, min_per_second, burst }
        });
    (
        prop::sample::select(&POLICIES),
        prop::collection::vec(prop::collection::vec(1..=4_u32, 1..4), 1..3),
        prop::option::weighted(0.9, breaker),
        budget,
        1..=4_u8,
        any::<bool>(),
        prop::sample::select(&[100_u64, 300, 2_000]),
    )
        .prop_map(|(policy, pools, breaker, budget, attempts_max, panics, exchange_ms)| {
            let pools: Vec<&[u32]> = pools.iter().map(Vec::as_slice).collect();
            let mut config = config(policy, &pools);
            config.breaker = breaker;
            config.retry.budget = budget;
            config.retry.attempts_max = attempts_max;
            config.retry.statuses = StatusSet::NONE.with(503).with(523);
            config.timeouts.exchange = Duration::from_millis(exchange_ms);
            if panics {
                config.when_all_unfit = WhenAllUnfit::FailOpen;
            }
            config
        })
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn every_legal_run_keeps_its_books_and_replays(config in settings(), seed: u64) {
        let told = run(&config, seed);
        prop_assert_eq!(run(&config, seed), told);
    }
}

#[test]
fn the_runs_reach_every_state_and_every_event() {
    // What the property above is worth: it would hold for a service that does nothing.
    let mut config = config(Policy::LeastRequest, &[&[1, 2], &[1]]);
    config.when_all_unfit = WhenAllUnfit::FailOpen;
    config.breaker = config.breaker.map(|breaker| BreakerConfig {
        open_for: Duration::from_millis(50),
        open_for_max: Duration::from_millis(200),
        ..breaker
    });
    config.retry.attempts_max = 3;
    config.retry.statuses = StatusSet::NONE.with(503).with(523);
    config.retry.backoff.jitter = Jitter::Equal;
    config.retry.budget = BudgetConfig { percent: 30, min_per_second: 1, burst: 10 };
    config.timeouts.exchange = Duration::from_millis(300);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..20 {
        for (_, event) in run(&config, seed) {
            let name = match event {
                Event::Attempted { choice, .. } => format!("attempted, {}", choice.role.as_str()),
                Event::Withheld { why, .. } => format!("withheld, {}", why.as_str()),
                Event::BreakerMoved { to, .. } => format!("breaker moved to {}", to.as_str()),
                Event::Delayed { .. } => "delayed".into(),
                Event::Delivered { .. } => "delivered".into(),
                Event::Rejected { .. } => "rejected".into(),
                Event::Ended { .. } => "ended".into(),
                Event::Started { .. }
                | Event::Concluded { .. }
                | Event::Queued { .. }
                | Event::Overtaken { .. }
                | Event::HealthMoved { .. }
                | Event::Ejected { .. }
                | Event::Pardoned { .. }
                | Event::Hastened { .. }
                | Event::Left { .. } => continue,
            };
            *seen.entry(name).or_default() += 1;
        }
    }
    let wanted = [
        "attempted, normal",
        "attempted, panic",
        "attempted, trial",
        "breaker moved to closed",
        "breaker moved to half_open",
        "breaker moved to open",
        "delayed",
        "delivered",
        "ended",
        "rejected",
        "withheld, attempts_spent",
        "withheld, body_spent",
        "withheld, budget_spent",
        "withheld, deadline_near",
        "withheld, not_idempotent",
    ];
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(names, wanted, "{seen:#?}");
}

/// Nobody listens, and nothing changes: a listener is told and never asked.
#[test]
fn who_listens_does_not_matter() {
    struct Deaf;
    impl Observe for Deaf {
        fn on(&self, _now: Time, _event: &Event) {}
    }
    let config = config(Policy::WeightedRandom, &[&[1, 2, 3]]);
    let places = |observe: &dyn Observe| -> Vec<u16> {
        let service = service(&config);
        (0..100)
            .map(|id| {
                let ask = Ask::bare(ExchangeId(id), Repeat::Once);
                match Exchange::start(&service, observe, ask, Time::ZERO) {
                    Step::Attempt(attempt) => attempt.backend().id().backend,
                    step => panic!("all are fit: {step:?}"),
                }
            })
            .collect()
    };
    assert_eq!(places(&Deaf), places(&Log::default()));
}
