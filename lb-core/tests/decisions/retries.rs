//! What is tried again, where and after how long, as it was asked for.

use core::time::Duration;

use expect_test::expect;
use lb_core::config::{FailureSet, Methods, ServiceConfig, WhenSpent};
use lb_core::{Ask, Body, BodyEnd, Exchange, ExchangeId, Failure, Outcome, Repeat, Step, Time};

use crate::exchange::Do::{End, Finish, Wake};
use crate::exchange::{OK, RESET, calm_config, check};
use crate::support::{Log, attempt, service};

/// Three attempts at two backends, two of them at each.
#[test]
fn a_backend_may_be_asked_twice_before_another_one_is() {
    let mut config = calm_config();
    config.breaker = None;
    config.retry.attempts_per_backend = 2;
    check(
        &config,
        Repeat::Idempotent,
        &[Finish(RESET), Wake, Finish(RESET), Wake, Finish(OK), End(BodyEnd::Complete)],
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, reset
            1    delayed until 26
            26   attempted a, normal again
            27   concluded a, reset
            27   delayed until 77
            77   attempted b, normal
            78   concluded b, 2xx
            78   delivered b 200
            79   ended b, complete
        "#]],
    );
    // Even a request that never arrived is first sent there again.
    let refused = Outcome::Failed(Failure::ConnectRefused);
    check(
        &config,
        Repeat::Once,
        &[Finish(refused), Wake, Finish(refused), Finish(OK), End(BodyEnd::Complete)],
        &expect![[r#"
            0    started
            0    attempted a, normal
            1    concluded a, connect_refused
            1    delayed until 26
            26   attempted a, normal again
            27   concluded a, connect_refused
            27   attempted b, normal
            28   concluded b, 2xx
            28   delivered b 200
            29   ended b, complete
        "#]],
    );
    // A breaker that opened in between sends it elsewhere.
    check(
        &ServiceConfig { breaker: calm_config().breaker, ..config },
        Repeat::Idempotent,
        &[Finish(RESET), Wake, Finish(OK), End(BodyEnd::Complete)],
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
}

#[test]
fn what_may_be_repeated_is_a_matter_of_configuration() {
    let mut config = calm_config();
    let end = End(BodyEnd::Complete);
    config.retry.methods = Methods::Safe;
    check(
        &config,
        Repeat::Idempotent,
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
    check(
        &config,
        Repeat::Safe,
        &[Finish(RESET), Wake, Finish(OK), end],
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
    config.retry.methods = Methods::Any;
    check(
        &config,
        Repeat::Once,
        &[Finish(RESET), Wake, Finish(OK), end],
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
}

#[test]
fn a_failure_that_is_not_asked_for_is_not_repeated() {
    let mut config = calm_config();
    config.retry.failures = FailureSet::CONNECT.and(FailureSet::TIMEOUT);
    check(
        &config,
        Repeat::Idempotent,
        &[Finish(RESET)],
        &expect![[r#"
        0    started
        0    attempted a, normal
        1    concluded a, reset
        1    breaker of a from closed to open
        1    rejected, reset
    "#]],
    );
    let timeout = Outcome::Failed(Failure::FirstByteTimeout);
    let script = [Finish(timeout), Wake, Finish(OK), End(BodyEnd::Complete)];
    check(
        &config,
        Repeat::Idempotent,
        &script,
        &expect![[r#"
        0    started
        0    attempted a, normal
        1    concluded a, first_byte_timeout
        1    breaker of a from closed to open
        1    delayed until 26
        26   attempted b, normal
        27   concluded b, 2xx
        27   delivered b 200
        28   ended b, complete
    "#]],
    );
}

#[test]
fn the_last_answer_may_be_replaced() {
    let mut config = calm_config();
    config.breaker = None;
    config.retry.attempts_max = 1;
    config.retry.when_spent = WhenSpent::Replace;
    let answered = Outcome::Answered(503);
    check(
        &config,
        Repeat::Idempotent,
        &[Finish(answered)],
        &expect![[r#"
        0    started
        0    attempted a, normal
        1    concluded a, 5xx
        1    withheld, attempts_spent
        1    rejected, backend_error
    "#]],
    );
    // What was never worth another attempt is no business of this rule.
    let answered = Outcome::Answered(500);
    let script = [Finish(answered), End(BodyEnd::Complete)];
    check(
        &config,
        Repeat::Idempotent,
        &script,
        &expect![[r#"
        0    started
        0    attempted a, normal
        1    concluded a, 5xx
        1    delivered a 500
        2    ended a, complete
    "#]],
    );
}

#[test]
fn a_backend_that_asks_to_be_left_alone_is_up_to_a_bound() {
    let mut config = calm_config();
    config.breaker = None;
    config.retry.retry_after_max = Duration::from_secs(2);
    let answered = Outcome::Answered(503);
    for (asked, expected) in [
        (0, expect!["waits for 25 ms"]),
        (2, expect!["waits for 2000 ms"]),
        (3, expect!["Deliver"]),
    ] {
        let service = service(&config);
        let log = Log::default();
        let asking = Ask::bare(ExchangeId(1), Repeat::Idempotent);
        let step = Exchange::start(&service, &log, asking, Time::ZERO);
        let attempt = attempt(step).asked_to_wait(Duration::from_secs(asked));
        let told = match attempt.finish(answered, Body::Intact, Time::ZERO) {
            Step::Wait(wait) => format!("waits for {} ms", wait.until().as_millis_ceil()),
            other => format!("{other:?}").split('(').next().unwrap_or_default().to_owned(),
        };
        expected.assert_eq(&told);
    }
}
