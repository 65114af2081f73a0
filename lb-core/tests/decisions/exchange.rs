//! One exchange at a time, step by step: what is refused, where a retry goes, and who pays for it.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::{Expect, expect};
use lb_core::config::{
    BACKENDS_MAX, BackendConfig, BreakerConfig, BudgetConfig, Jitter, Methods, Policy,
    ServiceConfig, StatusSet, WhenAllUnfit,
};
use lb_core::{
    Ask, Body, BodyEnd, BreakerState, Event, Exchange, ExchangeId, Failure, Meaningless, Outcome,
    Repeat, Service, Step, Time, Unobserved,
};

use crate::support::{Log, attempt, config, in_flight, place, secs, service, start};

/// Three attempts, a strike opens for a second, retries on 503 after exactly 25 ms.
pub(crate) fn calm_config() -> ServiceConfig {
    let mut config = config(Policy::RoundRobin, &[&[1, 1]]);
    config.retry.attempts_max = 3;
    config.retry.statuses = StatusSet::NONE.with(503);
    config.retry.backoff.jitter = Jitter::None;
    config.breaker = Some(BreakerConfig {
        consecutive_failures: 1,
        open_for: Duration::from_secs(1),
        open_for_max: Duration::from_secs(60),
        half_open_trials: 1,
        half_open_successes: 1,
        error_rate: None,
    });
    config
}

/// What one line of a script does with the step that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    Finish(Outcome),
    FinishSpent(Outcome),
    Wake,
    End(BodyEnd),
    Drop,
}
use Do::{Drop, End, Finish, FinishSpent, Wake};

pub(crate) const OK: Outcome = Outcome::Answered(200);
const BUSY: Outcome = Outcome::Answered(503);
const REFUSED: Outcome = Outcome::Failed(Failure::ConnectRefused);
pub(crate) const RESET: Outcome = Outcome::Failed(Failure::Reset);
const UNSENT: Outcome = Outcome::Failed(Failure::Unsent);

/// Drives one exchange by a script, a millisecond per line (a wait lasts as long as it asks), and
/// prints what was told.
fn drive(service: &Service, ask: Ask<'_>, script: &[Do], now: &mut Time) -> String {
    let log = Log::default();
    let mut step = Some(Exchange::start(service, &log, ask, *now));
    for said in script {
        *now = *now + Duration::from_millis(1);
        step = match (step.take().expect("the exchange goes on"), *said) {
            (Step::Attempt(attempt), Finish(outcome)) => {
                Some(attempt.finish(outcome, Body::Intact, *now))
            }
            (Step::Attempt(attempt), FinishSpent(outcome)) => {
                Some(attempt.finish(outcome, Body::Spent, *now))
            }
            (Step::Wait(wait), Wake) => {
                *now = (*now).max(wait.until());
                Some(wait.wake(*now))
            }
            (Step::Deliver(delivery), End(end)) => {
                delivery.end(end, service, *now, &log);
                None
            }
            (_, Drop) => None,
            (step, said) => panic!("{said:?} does not follow {step:?}"),
        };
    }
    assert!(matches!(step, None | Some(Step::Reject(..))), "unfinished: {step:?}");
    assert!(in_flight(service).iter().all(|held| *held == 0));
    let mut told = String::new();
    for (at, event) in log.take() {
        writeln!(told, "{:<4} {}", at.as_micros() / 1_000, line(&event)).expect("a string");
    }
    told
}

fn line(event: &Event) -> String {
    let name = |id: &lb_core::BackendId| ["a", "b", "c"][usize::from(id.backend)];
    match event {
        Event::Started { .. } => "started".into(),
        Event::Queued { .. } => "queued".into(),
        Event::Overtaken { backend, .. } => format!("{} overtaken", name(backend)),
        Event::HealthMoved { backend, healthy } => format!("{} healthy: {healthy}", name(backend)),
        Event::Ejected { backend, .. } => format!("{} ejected", name(backend)),
        Event::Hastened { backend } => format!("{} hastened", name(backend)),
        Event::Pardoned { backend } => format!("{} pardoned", name(backend)),
        Event::Attempted { backend, choice, .. } => {
            let again = if choice.again { " again" } else { "" };
            format!("attempted {}, {}{again}", name(backend), choice.role.as_str())
        }
        Event::Concluded { backend, outcome, .. } => {
            format!("concluded {}, {}", name(backend), outcome.as_str())
        }
        Event::Delayed { until, .. } => format!("delayed until {}", until.as_micros() / 1_000),
        Event::Withheld { why, .. } => format!("withheld, {}", why.as_str()),
        Event::Delivered { backend, status, .. } => format!("delivered {} {status}", name(backend)),
        Event::Rejected { rejection, .. } => format!("rejected, {}", rejection.as_str()),
        Event::Ended { backend, end, .. } => format!("ended {}, {}", name(backend), end.as_str()),
        Event::Left { .. } => "left".into(),
        Event::BreakerMoved { backend, from, to } => {
            format!("breaker of {} from {} to {}", name(backend), from.as_str(), to.as_str())
        }
    }
}

pub(crate) fn check(config: &ServiceConfig, repeat: Repeat, script: &[Do], expected: &Expect) {
    let ask = Ask::bare(ExchangeId(1), repeat);
    expected.assert_eq(&drive(&service(config), ask, script, &mut Time::ZERO.clone()));
}

#[test]
fn a_request_that_never_arrived_goes_elsewhere_at_once_whatever_its_method() {
    check(
        &calm_config(),
        Repeat::Once,
        &[Finish(REFUSED), Finish(OK), End(BodyEnd::Complete)],
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, connect_refused
            1    breaker of a from closed to open
            1    attempted b, normal
            2    concluded b, 2xx
            2    delivered b 200
            3    ended b, complete
        "#]],
    );
}

#[test]
fn a_request_that_may_have_arrived_is_repeated_only_if_it_may_be() {
    let script = [Finish(RESET), Wake, Finish(OK), End(BodyEnd::Complete)];
    check(
        &calm_config(),
        Repeat::Idempotent,
        &script,
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, reset
            1    breaker of a from closed to open
            1    delayed until 26
            26   attempted b, normal
            27   concluded b, 2xx
            27   delivered b 200
            28   ended b, complete
        "#]],
    );
    check(
        &calm_config(),
        Repeat::Once,
        &[Finish(RESET)],
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, reset
            1    breaker of a from closed to open
            1    withheld, not_idempotent
            1    rejected, reset
        "#]],
    );
    // Its answer goes to the client, since no better one may be asked for.
    let script = [Finish(BUSY), End(BodyEnd::Complete)];
    check(
        &calm_config(),
        Repeat::Once,
        &script,
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, 5xx
            1    breaker of a from closed to open
            1    withheld, not_idempotent
            1    delivered a 503
            2    ended a, complete
        "#]],
    );
}

#[test]
fn a_body_that_is_gone_is_not_sent_again() {
    check(
        &calm_config(),
        Repeat::Idempotent,
        &[FinishSpent(RESET)],
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, reset
            1    breaker of a from closed to open
            1    withheld, body_spent
            1    rejected, reset
        "#]],
    );
}

#[test]
fn the_last_attempt_decides() {
    let mut config = calm_config();
    config.breaker = None;
    let script = [Finish(BUSY), Wake, Finish(RESET), Wake, Finish(BUSY), End(BodyEnd::ClientLeft)];
    check(
        &config,
        Repeat::Idempotent,
        &script,
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, 5xx
            1    delayed until 26
            26   attempted b, normal
            27   concluded b, reset
            27   delayed until 77
            77   attempted a, normal again
            78   concluded a, 5xx
            78   withheld, attempts_spent
            78   delivered a 503
            79   ended a, client_left
        "#]],
    );
}

#[test]
fn without_a_budget_nothing_is_repeated() {
    let mut config = calm_config();
    config.retry.budget = BudgetConfig { percent: 100, min_per_second: 100, burst: 0 };
    check(
        &config,
        Repeat::Idempotent,
        &[Finish(REFUSED)],
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, connect_refused
            1    breaker of a from closed to open
            1    withheld, budget_spent
            1    rejected, connect_refused
        "#]],
    );
}

#[test]
fn a_wait_beyond_the_deadline_is_not_begun() {
    let mut config = calm_config();
    config.timeouts.exchange = Duration::from_millis(20);
    check(
        &config,
        Repeat::Idempotent,
        &[Finish(BUSY), End(BodyEnd::Complete)],
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, 5xx
            1    breaker of a from closed to open
            1    withheld, deadline_near
            1    delivered a 503
            2    ended a, complete
        "#]],
    );
}

/// One page with a bug opens the breakers of all backends, which answer everybody else.
#[test]
fn when_all_are_unfit_those_that_still_answer_are_asked() {
    let mut config = calm_config();
    config.when_all_unfit = WhenAllUnfit::AskAnswering;
    let now = Time::from_millis;
    let fails = |service: &Service, id: u64, outcome: Outcome| {
        let step = attempt(start(service, id, now(id))).finish(outcome, Body::Spent, now(id));
        if let Step::Deliver(delivery) = step {
            delivery.end(BodyEnd::Complete, service, now(id), &Unobserved);
        }
    };
    let said = Outcome::Answered;
    let malformed = Outcome::Failed(Failure::Malformed);
    for (outcomes, wanted) in [
        ([said(500), said(500)], &[0, 1][..]),
        ([said(500), said(503)], &[0]),
        ([said(502), said(599)], &[1]),
        ([said(523), said(504)], &[]),
        ([malformed, RESET], &[0]),
    ] {
        let service = service(&config);
        for (id, outcome) in (1..).zip(outcomes) {
            fails(&service, id, outcome);
        }
        let asked = (10..30).filter_map(|id| match start(&service, id, now(id)) {
            Step::Attempt(attempt) => Some(place(&attempt)),
            _ => None,
        });
        let asked: BTreeSet<usize> = asked.collect();
        assert_eq!(asked, wanted.iter().copied().collect(), "{outcomes:?}");
        assert!(service.backends().all(|it| it.breaker().state() == BreakerState::Open));
    }
}

#[test]
fn when_all_are_unfit_a_service_fails_fast_or_panics() {
    let mut config = calm_config();
    let script = [Finish(RESET), Wake, Finish(RESET)];
    check(
        &config,
        Repeat::Idempotent,
        &script,
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, reset
            1    breaker of a from closed to open
            1    delayed until 26
            26   attempted b, normal
            27   concluded b, reset
            27   breaker of b from closed to open
            27   withheld, no_fit_backend
            27   rejected, reset
        "#]],
    );
    config.when_all_unfit = WhenAllUnfit::FailOpen;
    let script = [Finish(RESET), Wake, Finish(RESET), Wake, Finish(OK), End(BodyEnd::Complete)];
    check(
        &config,
        Repeat::Idempotent,
        &script,
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, reset
            1    breaker of a from closed to open
            1    delayed until 26
            26   attempted b, normal
            27   concluded b, reset
            27   breaker of b from closed to open
            27   delayed until 77
            77   attempted b, panic again
            78   concluded b, 2xx
            78   delivered b 200
            79   ended b, complete
        "#]],
    );
}

#[test]
fn a_trial_closes_by_its_head_and_a_body_broken_off_later_still_counts() {
    let mut config = calm_config();
    config.pools[0].backends.truncate(1);
    config.retry.attempts_max = 1;
    let service = service(&config);
    let mut now = Time::ZERO;
    let mut told = drive(&service, crate::support::ask(1), &[Finish(RESET)], &mut now);
    now = secs(2);
    // A trial that is left without an answer, one whose connection had closed, then a good head.
    told += &drive(&service, crate::support::ask(2), &[Drop], &mut now);
    told += &drive(&service, crate::support::ask(3), &[Finish(UNSENT)], &mut now);
    let script = [Finish(OK), End(BodyEnd::BackendBroke)];
    told += &drive(&service, crate::support::ask(4), &script, &mut now);
    expect![[r#"
        0    started
        0    attempted a, normal
        1    concluded a, reset
        1    breaker of a from closed to open
        1    withheld, attempts_spent
        1    rejected, reset
        2000 started
        2000 breaker of a from open to half_open
        2000 attempted a, trial
        2001 started
        2001 attempted a, trial
        2002 concluded a, unsent
        2002 withheld, attempts_spent
        2002 rejected, unsent
        2002 started
        2002 attempted a, trial
        2003 concluded a, 2xx
        2003 breaker of a from half_open to closed
        2003 delivered a 200
        2004 breaker of a from closed to open
        2004 ended a, backend_broke
    "#]]
    .assert_eq(&told);
}

#[test]
fn a_trial_that_fails_late_counts_against_no_breaker_but_the_one_it_closed() {
    let mut config = calm_config();
    config.pools[0].backends.truncate(1);
    config.retry.attempts_max = 1;
    let service = service(&config);
    let finish = |id, outcome, now| {
        let trial_or_not = attempt(start(&service, id, now));
        match trial_or_not.finish(outcome, Body::Intact, now) {
            Step::Deliver(delivery) => Some(delivery),
            _ => None,
        }
    };
    // Its head closes the breaker. Then the backend fails again, and another trial closes it again.
    assert!(finish(1, RESET, Time::ZERO).is_none());
    let early = finish(2, OK, secs(2)).expect("a trial");
    assert!(finish(3, RESET, secs(3)).is_none());
    let answered_badly = finish(4, BUSY, secs(10)).expect("an answer");
    let late = finish(5, OK, secs(20)).expect("a trial");
    let closed_again = service.backend(0).breaker();
    for straggler in [early, answered_badly] {
        straggler.end(BodyEnd::BackendBroke, &service, secs(21), &Log::default());
        assert_eq!(service.backend(0).breaker(), closed_again);
    }
    late.end(BodyEnd::BackendBroke, &service, secs(21), &Log::default());
    assert_eq!(service.backend(0).breaker().state(), BreakerState::Open);
}

#[test]
fn a_good_head_breaks_no_row_of_failures_and_a_good_body_does() {
    let mut config = calm_config();
    config.pools[0].backends.truncate(1);
    config.retry.attempts_max = 1;
    config.breaker = config.breaker.map(|it| BreakerConfig { consecutive_failures: 3, ..it });
    let service = service(&config);
    let failures = || service.backend(0).breaker().failures();
    let go = |script: &[Do]| {
        drive(&service, crate::support::ask(1), script, &mut Time::ZERO.clone());
        failures()
    };
    assert_eq!(go(&[Finish(RESET)]), 1);
    assert_eq!(go(&[Finish(OK), Drop]), 1);
    assert_eq!(go(&[Finish(OK), End(BodyEnd::ClientLeft)]), 1);
    assert_eq!(go(&[Finish(OK), End(BodyEnd::of_silence(Some(9)))]), 2);
    // Who announced nothing has nothing to say, whatever came before.
    assert_eq!(go(&[Finish(OK), End(BodyEnd::of_silence(None))]), 2);
    assert_eq!(go(&[Finish(OK), End(BodyEnd::Complete)]), 0);
    // A bad head and a broken body are one failure.
    assert_eq!(go(&[Finish(BUSY), End(BodyEnd::BackendBroke)]), 1);
}

#[test]
fn a_408_at_the_end_of_a_connection_is_a_goodbye_to_what_may_be_repeated() {
    use Repeat::{Idempotent, Once, Safe};
    for (methods, are_told) in [
        (Methods::Safe, [true, false, false]),
        (Methods::Idempotent, [true, true, false]),
        (Methods::Any, [true, true, true]),
    ] {
        let mut config = calm_config();
        config.retry.methods = methods;
        let service = service(&config);
        for (repeat, is_told) in [Safe, Idempotent, Once].into_iter().zip(are_told) {
            let ask = Ask::bare(ExchangeId(1), repeat);
            let asked = attempt(Exchange::start(&service, &Unobserved, ask, secs(100)));
            let errand = asked.errand();
            assert_eq!(errand.is_goodbye(408), is_told, "{methods:?}, {repeat:?}");
            assert!([400, 421, 503].iter().all(|status| !errand.is_goodbye(*status)));
        }
    }
}

#[test]
fn a_deadline_is_that_of_the_exchange_or_of_the_attempt_whichever_comes_first() {
    let mut config = calm_config();
    config.timeouts.exchange = Duration::from_secs(10);
    config.timeouts.first_byte = Duration::from_secs(7);
    config.timeouts.connect = Duration::from_secs(2);
    let service = service(&config);
    let first = attempt(start(&service, 1, secs(100)));
    assert_eq!(
        (first.errand().connect_deadline(), first.errand().deadline()),
        (secs(102), secs(107))
    );
    let second = attempt(first.finish(REFUSED, Body::Intact, secs(109)));
    assert_eq!(
        (second.errand().connect_deadline(), second.errand().deadline()),
        (secs(110), secs(110))
    );
    assert_eq!(second.number(), 2);
    let Step::Deliver(delivery) = second.finish(OK, Body::Intact, secs(109)) else { panic!() };
    assert_eq!(delivery.deadline(), secs(110));
}

#[test]
fn whoever_had_less_time_than_it_is_due_has_shown_nothing() {
    let mut config = calm_config();
    config.timeouts.exchange = Duration::from_secs(10);
    config.timeouts.first_byte = Duration::from_secs(7);
    config.timeouts.connect = Duration::from_secs(2);
    let served = service(&config);
    let first = attempt(start(&served, 1, secs(100)));
    let (connect, head) = (Failure::ConnectTimeout, Failure::FirstByteTimeout);
    let never = Time::ZERO;
    assert_eq!(first.errand().judged(connect, never, secs(102)), connect);
    assert_eq!(first.errand().judged(head, never, secs(107)), head);
    // It took the last piece of an upload at 105, and the exchange ended at 110.
    assert_eq!(first.errand().judged(head, secs(105), secs(110)), Failure::OutOfTime);
    assert_eq!(first.errand().judged(head, secs(103), secs(110)), head);
    assert_eq!(first.errand().judged(Failure::Reset, never, secs(110)), Failure::Reset);
    let second = attempt(first.finish(REFUSED, Body::Intact, secs(109)));
    assert_eq!(second.errand().judged(connect, never, secs(110)), Failure::OutOfTime);
    // The system gave up sooner than we would have.
    assert_eq!(second.errand().judged(connect, never, Time::from_millis(109_500)), connect);

    // All of a short exchange is what a backend is due.
    config.timeouts.exchange = Duration::from_secs(1);
    let served = service(&config);
    let only = attempt(start(&served, 1, secs(100)));
    assert_eq!(only.errand().judged(head, never, secs(101)), head);
}

#[test]
fn a_meaningless_service_is_refused() {
    let refused = |change: &dyn Fn(&mut ServiceConfig)| {
        let mut config = calm_config();
        change(&mut config);
        Service::new(&config, 0, 7).err()
    };
    assert_eq!(refused(&|_| ()), None);
    assert_eq!(refused(&|config| config.pools.clear()), Some(Meaningless::NoPool));
    let emptied = refused(&|config| config.pools[0].backends.clear());
    assert_eq!(emptied, None, "its backends may be yet to be found");
    let filled = |count: usize| {
        refused(&move |config| {
            let backend = BackendConfig::new("http://a");
            config.pools[0].backends = vec![backend; count];
        })
    };
    assert_eq!(filled(BACKENDS_MAX), None);
    assert_eq!(filled(BACKENDS_MAX + 1), Some(Meaningless::TooManyBackends));
    for weight in [0, 1_001] {
        let weighed = refused(&|config| config.pools[0].backends[1].weight = weight);
        assert_eq!(weighed, Some(Meaningless::Weight(weight)));
    }
    for attempts in [0, 9] {
        let count = Meaningless::Count(attempts.into());
        assert_eq!(refused(&|config| config.retry.attempts_max = attempts), Some(count));
    }
    // Beyond these the word of the budget would overflow.
    let budget = |percent, min_per_second, burst| {
        refused(&move |config| {
            config.retry.budget = BudgetConfig { percent, min_per_second, burst }
        })
    };
    assert_eq!(budget(1_000, 100_000, 100_000), None);
    assert_eq!(budget(0, 0, 0), None);
    assert_eq!(budget(1_001, 0, 0), Some(Meaningless::Count(1_001)));
    assert_eq!(budget(0, 100_001, 0), Some(Meaningless::Count(100_001)));
    assert_eq!(budget(0, 0, 200_000), Some(Meaningless::Count(200_000)));
}

#[test]
fn an_answer_worth_retrying_goes_out_when_nobody_is_left_to_retry_at() {
    let mut config = calm_config();
    config.pools[0].backends.truncate(1);
    let answered = Outcome::Answered(503);
    check(
        &config,
        Repeat::Idempotent,
        &[Finish(answered), End(BodyEnd::Complete)],
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, 5xx
            1    breaker of a from closed to open
            1    withheld, no_fit_backend
            1    delivered a 503
            2    ended a, complete
        "#]],
    );
}
