//! Which pool serves when some of the backends are unfit: Envoy's tables of priorities and panic.
//!
//! A backend is made unfit as it is in life: it refuses a connection, and its breaker opens.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use lb_core::config::{
    BackendConfig, BreakerConfig, PoolConfig, RetryConfig, ServiceConfig, SteeringConfig,
    WhenAllUnfit,
};
use lb_core::{
    Ask, Body, BodyEnd, Event, Exchange, ExchangeId, Failure, Observe, Outcome, Repeat, Role,
    Service, Step, Time,
};

use super::{Row, Unit};

/// Backends of each pool: one is a percent.
const EACH: u16 = 100;
/// Requests that make every backend known, and those that are counted.
const LEARNS: u64 = 20_000;
const COUNTS: u64 = 50_000;

/// Counts where attempts go.
#[derive(Default)]
struct Tally(RefCell<[[u32; 2]; 2]>);

impl Observe for Tally {
    fn on(&self, _now: Time, event: &Event) {
        if let Event::Attempted { choice, .. } = event {
            let panics = usize::from(choice.role == Role::Panic);
            self.0.borrow_mut()[usize::from(choice.pool)][panics] += 1;
        }
    }
}

/// What became of the counted requests.
struct Shares {
    /// The share of each pool.
    pools: [f64; 2],
    /// Which of them took some in panic.
    panics: [bool; 2],
}

pub(super) fn rows() -> Vec<Row> {
    let spill = [
        (100, 100, "100 %"),
        (72, 100, "100 %"),
        (71, 100, "99 %"),
        (50, 100, "70 %"),
        (25, 100, "35 %"),
        (25, 25, "50 %"),
        (5, 65, "7 %"),
    ];
    let rows = spill.into_iter().map(|(first, second, paper)| {
        let what = format!("{first} % and {second} % are fit: share of the first pool");
        Row::new(what, paper, shares(first, second, 50).pools[0], Unit::Percent)
    });
    let mut rows: Vec<Row> = rows.collect();
    let pools = |it: [bool; 2]| f64::from(u8::from(it[0]) + u8::from(it[1]));
    let both = shares(25, 25, 50).panics;
    rows.push(Row::new("25 % and 25 %: pools in panic", "2", pools(both), Unit::Plain));
    let one = shares(5, 65, 50).panics;
    rows.push(Row::new("5 % and 65 %: pools in panic", "1", pools(one), Unit::Plain));
    let none = shares(72, 100, 50).panics;
    rows.push(Row::new("72 % and 100 %: pools in panic", "0", pools(none), Unit::Plain));
    rows
}

fn shares(first: u16, second: u16, panic_below: u8) -> Shares {
    let pool = |name: &str| {
        let backends = (0..EACH).map(|nth| BackendConfig::new(&format!("http://{name}{nth}")));
        PoolConfig::new(name, backends.collect())
    };
    let breaker = BreakerConfig {
        consecutive_failures: 1,
        open_for: Duration::from_secs(3_600),
        open_for_max: Duration::from_secs(3_600),
        ..BreakerConfig::default()
    };
    let config = ServiceConfig {
        breaker: Some(breaker),
        steering: SteeringConfig { overprovision_percent: Some(140), ..SteeringConfig::default() },
        when_all_unfit: WhenAllUnfit::FailOpen,
        panic_below,
        retry: RetryConfig { attempts_max: 1, ..RetryConfig::default() },
        ..ServiceConfig::new("pools", vec![pool("p"), pool("q")])
    };
    let service = Service::new(&config, 0, 1).expect("two pools of a hundred");
    let dead = |pool: &str, fit: u16| {
        (fit..EACH).map(|nth| format!("http://{pool}{nth}")).collect::<Vec<_>>()
    };
    let dead: BTreeSet<String> =
        [dead("p", first), dead("q", second)].concat().into_iter().collect();
    let (tally, mut learns) = (Tally::default(), Tally::default());
    for nth in 0..LEARNS + COUNTS {
        let told = if nth < LEARNS { &mut learns } else { &tally };
        serve(&service, told, nth, &dead);
    }
    let counted = tally.0.into_inner();
    let share = |pool: [u32; 2]| f64::from(pool[0] + pool[1]) / COUNTS as f64;
    Shares { pools: counted.map(share), panics: counted.map(|[_, panics]| panics > 0) }
}

fn serve(service: &Service, told: &dyn Observe, nth: u64, dead: &BTreeSet<String>) {
    let now = Time::from_millis(nth / 100);
    let ask = Ask::bare(ExchangeId(nth), Repeat::Safe);
    let Step::Attempt(attempt) = Exchange::start(service, told, ask, now) else { return };
    let outcome = match dead.contains(attempt.backend().name()) {
        true => Outcome::Failed(Failure::ConnectRefused),
        false => Outcome::Answered(200),
    };
    if let Step::Deliver(delivery) = attempt.finish(outcome, Body::Intact, now) {
        delivery.end(BodyEnd::Complete, service, now, told);
    }
}
