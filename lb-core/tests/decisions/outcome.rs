//! The one table of what became of attempts, printed whole: whoever changes a line sees it here.

use std::fmt::Write as _;
use std::time::Duration;

use expect_test::{Expect, expect};
use lb_core::config::StatusSet;
use lb_core::{BodyEnd, Failure, Outcome, Rejection, Verdict, Withheld};

fn check(rows: impl IntoIterator<Item = String>, expected: &Expect) {
    let mut table = String::new();
    for row in rows {
        writeln!(table, "{}", row.trim_end()).expect("a string takes all");
    }
    expected.assert_eq(&table);
}

fn row(name: &str, outcome: Outcome) -> String {
    let (reach, verdict) = (outcome.reach(), outcome.verdict(StatusSet::FAILURES));
    format!("{name:16} {:18} {reach:5?} {verdict:?}", outcome.as_str())
}

#[test]
fn every_failure_says_whether_the_backend_may_have_acted_and_what_it_proves() {
    check(
        Failure::ALL.map(|failure| row(&format!("{failure:?}"), Outcome::Failed(failure))),
        &expect![[r#"
            NoAddress        no_address         Never Failure
            ConnectRefused   connect_refused    Never Failure
            ConnectFailed    connect_failed     Never Failure
            ConnectTimeout   connect_timeout    Never Failure
            TlsFailed        tls_failed         Never Failure
            Unsent           unsent             Never Abandoned
            RefusedStream    refused_stream     Never Failure
            Reset            reset              Maybe Failure
            FirstByteTimeout first_byte_timeout Maybe Failure
            Malformed        malformed          Maybe Failure
            Exhausted        exhausted          Never Abandoned
            Crowded          crowded            Never Abandoned
            NoTunnel         no_tunnel          Maybe Abandoned
            OutOfTime        out_of_time        Maybe Abandoned
            BodyAwaited      body_awaited       Maybe Abandoned
            ConnectionLost   connection_lost    Maybe Abandoned
        "#]],
    );
}

#[test]
fn every_notable_status_says_whether_the_backend_may_have_acted_and_what_it_proves() {
    let statuses = [
        100, 101, 200, 204, 206, 301, 304, 400, 401, 404, 408, 421, 425, 429, 499, 500, 501, 502,
        503, 504, 505, 507, 511, 520, 521, 522, 523, 524, 525, 526, 527, 530, 599, 999,
    ];
    check(
        statuses.map(|status| row(&status.to_string(), Outcome::Answered(status))),
        &expect![[r#"
            100              1xx                Maybe Success
            101              1xx                Maybe Success
            200              2xx                Maybe Success
            204              2xx                Maybe Success
            206              2xx                Maybe Success
            301              3xx                Maybe Success
            304              3xx                Maybe Success
            400              4xx                Maybe Success
            401              4xx                Maybe Success
            404              4xx                Maybe Success
            408              4xx                Maybe Success
            421              4xx                Maybe Success
            425              4xx                Maybe Success
            429              4xx                Maybe Success
            499              4xx                Maybe Success
            500              5xx                Maybe Failure
            501              5xx                Maybe Success
            502              5xx                Maybe Failure
            503              5xx                Maybe Failure
            504              5xx                Maybe Failure
            505              5xx                Maybe Success
            507              5xx                Maybe Failure
            511              5xx                Maybe Failure
            520              5xx                Maybe Failure
            521              5xx                Never Failure
            522              5xx                Never Failure
            523              5xx                Never Failure
            524              5xx                Maybe Failure
            525              5xx                Never Failure
            526              5xx                Never Failure
            527              5xx                Maybe Failure
            530              5xx                Maybe Failure
            599              5xx                Maybe Failure
            999              5xx                Maybe Failure
        "#]],
    );
}

#[test]
fn only_five_statuses_say_that_the_request_never_arrived() {
    let never: Vec<u16> = (0..=u16::MAX)
        .filter(|status| Outcome::Answered(*status).reach() == lb_core::Reach::Never)
        .collect();
    assert_eq!(never, [521, 522, 523, 525, 526]);
}

#[test]
fn of_what_counts_as_a_failure_these_are_no_reason_not_to_ask_on() {
    let all = (100..600).map(Outcome::Answered).chain(Failure::ALL.map(Outcome::Failed));
    let failures = StatusSet::FAILURES;
    let counts = all.filter(|it| it.verdict(failures) == Verdict::Failure);
    let asked_on: Vec<Outcome> = counts.filter(|it| it.is_asked_on()).collect();
    assert!(asked_on.contains(&Outcome::Answered(500)), "{asked_on:?}");
    let failed = asked_on.iter().filter(|it| matches!(it, Outcome::Failed(_)));
    let named = [Failure::NoAddress, Failure::Malformed].map(Outcome::Failed);
    assert!(failed.eq(&named), "{asked_on:?}");
}

#[test]
fn every_end_of_a_body_says_what_it_proves() {
    check(
        BodyEnd::ALL.map(|end| format!("{:17} {:?}", end.as_str(), end.verdict())),
        &expect![[r#"
            complete          Success
            backend_broke     Failure
            backend_left      Abandoned
            backend_idle      Failure
            backend_quiet     Abandoned
            deadline          Abandoned
            client_left       Abandoned
            connection_broke  Abandoned
        "#]],
    );
}

#[test]
fn what_a_client_lets_lie_a_backend_may_break_off() {
    let of_break = |ms| BodyEnd::of_break(Duration::from_millis(ms));
    assert_eq!([0, 1_999].map(of_break), [BodyEnd::BackendBroke; 2]);
    assert_eq!([2_000, u64::MAX].map(of_break), [BodyEnd::BackendLeft; 2]);
}

#[test]
fn the_end_of_a_connection_is_one_failure_however_many_share_it() {
    for failure in Failure::ALL {
        let again = failure.counted_once();
        let is_end = matches!(failure, Failure::Reset | Failure::Malformed);
        assert_eq!(again != failure, is_end, "{failure:?}");
        let (failed, again) = (Outcome::Failed(failure), Outcome::Failed(again));
        assert_eq!(again.reach(), failed.reach(), "nothing else is tried again than before");
        assert!(!is_end || again.verdict(StatusSet::FAILURES) == Verdict::Abandoned);
    }
    for end in BodyEnd::ALL {
        let is_end = end == BodyEnd::BackendBroke;
        assert_eq!(
            end.counted_once() == BodyEnd::ConnectionBroke,
            is_end || end == BodyEnd::ConnectionBroke
        );
    }
}

#[test]
fn every_rejection_has_a_status_and_a_code() {
    let failed = Failure::ALL.map(Rejection::AttemptFailed);
    let others = [Rejection::NoFitBackend, Rejection::DeadlinePassed];
    check(
        failed.into_iter().chain(others).map(|why| format!("{} {}", why.status(), why.as_str())),
        &expect![[r#"
            502 no_address
            502 connect_refused
            502 connect_failed
            504 connect_timeout
            502 tls_failed
            502 unsent
            502 refused_stream
            502 reset
            504 first_byte_timeout
            502 malformed
            503 exhausted
            503 crowded
            502 no_tunnel
            504 out_of_time
            502 body_awaited
            502 connection_lost
            503 no_fit_backend
            504 deadline_passed
        "#]],
    );
}

#[test]
fn no_two_codes_are_the_same() {
    let mut codes: Vec<&str> = Failure::ALL
        .map(Failure::as_str)
        .into_iter()
        .chain(Withheld::ALL.map(Withheld::as_str))
        .chain(BodyEnd::ALL.map(BodyEnd::as_str))
        .collect();
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count);
}
