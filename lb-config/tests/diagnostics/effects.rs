//! Warnings: what is understood and can have no effect.

use expect_test::expect;

use crate::{check_backends, check_service, check_top};

#[test]
fn what_can_have_no_effect_is_warned_about() {
    check_top(
        "[admin]\nenabled = false\nbind = '127.0.0.1:1'",
        expect![[r#"
        lb.toml:3:1: warning: bind has no effect with enabled = false; remove it
    "#]],
    );
    check_service(
        "breaker = { enabled = false, open_for = '1s' }\nwhen_all_unfit = 'fail-open'",
        expect![[r#"
            lb.toml:7:30: warning: open_for has no effect with enabled = false; remove it
            lb.toml:8:1: warning: when_all_unfit has no effect without breaker, checks and outliers: no backend is ever unfit; remove it
        "#]],
    );
    check_service(
        "retry = { attempts_max = 1, replay_buffer = '1KiB', statuses = [], budget = { burst = 1 }, backoff = {} }",
        expect![[r#"
            lb.toml:7:29: warning: replay_buffer has no effect with attempts_max = 1: nothing is tried again; remove it
            lb.toml:7:53: warning: statuses has no effect with attempts_max = 1: nothing is tried again; remove it
            lb.toml:7:68: warning: budget has no effect with attempts_max = 1: nothing is tried again; remove it
            lb.toml:7:92: warning: backoff has no effect with attempts_max = 1: nothing is tried again; remove it
        "#]],
    );
    check_service(
        "retry.budget = { percent = 0, min_per_second = 0, burst = 0 }",
        expect![[r#"
        lb.toml:7:16: warning: a budget with burst = 0 allows no retry at all; raise burst, or write attempts_max = 1 instead
    "#]],
    );
    check_service(
        "timeouts = { connect = '20s', first_byte = '10s' }",
        expect![[r#"
        lb.toml:7:24: warning: connect "20s" has no effect: first_byte "10s" runs out first; lower connect or raise first_byte
    "#]],
    );
    check_service(
        "timeouts = { connect = '2m', first_byte = '3m', body_idle = '4m', exchange = '1m' }",
        expect![[r#"
            lb.toml:7:24: warning: connect "2m" has no effect: exchange "1m" runs out first; lower connect or raise exchange
            lb.toml:7:43: warning: first_byte "3m" has no effect: exchange "1m" runs out first; lower first_byte or raise exchange
            lb.toml:7:61: warning: body_idle "4m" has no effect: exchange "1m" runs out first; lower body_idle or raise exchange
        "#]],
    );
    check_service("timeouts.exchange = '1s'", expect![[""]]);
    check_service(
        "keep_alive = { idle_max = 0, idle_timeout = '1s' }",
        expect![[r#"
        lb.toml:7:30: warning: idle_timeout has no effect with idle_max = 0: no connection is kept; remove it
    "#]],
    );
    check_backends(
        "[{ url = 'http://a', weight = 3 }]",
        expect![[r#"
        lb.toml:9:42: warning: weight has no effect in a pool of one backend; remove it or add another backend
    "#]],
    );
}
