//! Who asks when, and what goes wrong in several places at once: in both engines, and how mistakes are told.

use expect_test::{Expect, expect};
use lb_sim::engine::Run;
use lb_sim::log::What;
use lb_sim::{Engine, Scenario, Verdict, report, scenario};

/// Two backends with room for eight, and a workload.
fn text(workload: &str) -> String {
    format!(
        r#"# A test of workloads.
schema = 1
duration = "10s"
recover_within = "2s"

[workload]
{workload}

[[origin]]
at = "b1:80"
latency = "20ms"
concurrency = 8

[[origin]]
at = "b2:80"
latency = "20ms"
concurrency = 8

[[config.listener]]
bind = "0.0.0.0:8080"

[[config.service]]
name = "web"
hosts = ["web"]

[[config.service.pool]]
backends = [{{ url = "http://b1" }}, {{ url = "http://b2" }}]
"#
    )
}

fn load(text: &str) -> (Option<Scenario>, String) {
    let (scenario, diagnostics) = scenario::load(&lb_config::Source { name: "s.toml", text });
    let lines: Vec<String> = diagnostics.iter().map(|it| format!("{it}\n")).collect();
    (scenario, lines.concat())
}

fn loaded(workload: &str) -> Scenario {
    let (scenario, said) = load(&text(workload));
    scenario.unwrap_or_else(|| panic!("{said}"))
}

/// What both engines make of it.
fn runs(scenario: &Scenario) -> [(Engine, Run); 2] {
    [Engine::Net, Engine::Model].map(|engine| (engine, engine.run(scenario, 7)))
}

fn hold_and_bite_twice(scenario: &Scenario) {
    for (engine, run) in runs(scenario) {
        let verdict = Verdict::of(scenario, 7, &run);
        let said = report::verdict(scenario, &verdict, engine);
        assert_eq!((verdict.class(), &verdict.bit[..]), (None, &[true, true][..]), "{said}");
    }
}

fn sent(run: &Run) -> usize {
    run.log.iter().filter(|entry| matches!(entry.what, What::Sent { .. })).count()
}

#[test]
fn clients_that_wait_ask_as_often_as_the_law_of_interactive_systems_says() {
    let scenario = loaded("clients = 20\nthink = { exponential = \"100ms\" }");
    for (engine, run) in runs(&scenario) {
        // 20 clients, each once in 100 ms of thought and 24 ms or so of waiting, for 9.9 s.
        let requests = sent(&run);
        assert!((1_450..1_750).contains(&requests), "{engine:?}: {requests}");
        let verdict = Verdict::of(&scenario, 7, &run);
        assert_eq!(verdict.class(), None, "{}", report::verdict(&scenario, &verdict, engine));
    }
}

#[test]
fn clients_that_wait_never_have_more_open_than_they_are() {
    let fault = "clients = 10\nthink = \"1ms\"\n\
                 [[fault]]\nat = \"2s\"\nfor = \"2s\"\nkind = \"slow\"\nby = \"300ms\"\n\
                 origins = [\"b1:80\", \"b2:80\"]";
    let scenario = loaded(fault);
    for (engine, run) in runs(&scenario) {
        let (mut open, mut most) = (0_u32, 0);
        for entry in &run.log {
            match entry.what {
                What::Sent { .. } => open += 1,
                What::Ended { .. } => open -= 1,
                _ => {}
            }
            most = most.max(open);
        }
        assert_eq!(most, 10, "{engine:?}");
    }
}

#[test]
fn bursts_bring_both_engines_the_same_requests() {
    let bursts = "arrivals = { bursts = 20, last = \"200ms\", every = \"2s\" }";
    let scenario = loaded(&format!("rate = 100\n{bursts}\nusers = 50\nzipf = 1.2"));
    let [(_, net), (_, model)] = runs(&scenario);
    assert_eq!(sent(&net), sent(&model));
    let mut per_tenth = vec![0; 100];
    for entry in model.log.iter().filter(|entry| matches!(entry.what, What::Sent { .. })) {
        per_tenth[usize::try_from(entry.at.as_millis() / 100).expect("ten seconds")] += 1;
    }
    let (least, most) = (per_tenth.iter().min(), per_tenth.iter().max());
    assert!(most > Some(&40) && least < Some(&6), "{per_tenth:?}");
}

#[test]
fn by_zipf_s_law_the_first_of_many_users_asks_most() {
    let scenario = loaded("rate = 2000\nusers = 1000\nzipf = 1.1");
    let run = Engine::Model.run(&scenario, 7);
    let user = |entry: &lb_sim::log::Entry| match entry.what {
        What::Reached { user, .. } => user,
        _ => None,
    };
    let users: Vec<u32> = run.log.iter().filter_map(user).collect();
    let share = |which| users.iter().filter(|user| **user == which).count() as f64 / 20_000.0;
    // One over the sum of the weights is 0.18; the second has 0.47 of that.
    assert!((0.16..0.20).contains(&share(0)), "{}", share(0));
    assert!((0.07..0.10).contains(&share(1)), "{}", share(1));
}

#[test]
fn a_fault_of_several_origins_has_to_be_noticed_at_each() {
    let fault = "rate = 200\n[[fault]]\nat = \"2s\"\nfor = \"2s\"\nkind = \"slow\"\nby = \"100ms\"\n\
                 origins = [\"b1:80\", \"b2:80\"]\n\
                 [expect]\nat_end = [\"p50@faults >= 100ms\", \"p50@healed <= 40ms\"]";
    let scenario = loaded(fault);
    assert_eq!(scenario.faults.len(), 2);
    hold_and_bite_twice(&scenario);
}

#[test]
fn a_backend_that_shrinks_makes_its_requests_wait() {
    // 8 of 20 ms each carry 400 a second, and 2 carry 100.
    let fault = "rate = 150\n[[fault]]\nat = \"2s\"\nfor = \"2s\"\nkind = \"shrink\"\nconcurrency = 1\n\
                 origins = [\"b1:80\", \"b2:80\"]\n\
                 [expect]\nat_end = [\"p50@calm <= 40ms\", \"p50@faults >= 100ms\", \"max@healed <= 3s\"]\n\
                 eventually = [\"max <= 100ms\"]";
    let scenario = loaded(fault);
    hold_and_bite_twice(&scenario);
}

#[test]
fn a_load_that_the_net_engine_is_not_made_for_is_refused_by_it_alone() {
    let many = loaded("rate = 20000");
    assert_eq!(
        Engine::Net.refusals(&many),
        ["it is not made for more than 10,000 requests a second"]
    );
    assert!(Engine::Model.refusals(&many).is_empty());
    let many = loaded("clients = 20000\nthink = \"10s\"");
    assert_eq!(
        Engine::Net.refusals(&many),
        ["it is not made for more than 10,000 clients that wait for their answers"]
    );
}

#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(workload: &str, expected: Expect) {
    expected.assert_eq(&load(&text(workload)).1);
}

#[test]
fn complaints_about_workloads_say_what_is_wrong_and_nothing_else() {
    check(
        "",
        expect![[r#"
        s.toml:6:1: rate is missing in [workload]; add rate = 200, or clients = 50
    "#]],
    );
    check(
        "clients = 5\nrate = 5",
        expect![[r#"
        s.toml:8:8: rate says how often requests arrive, and clients wait for their answers; remove rate, or clients and think
    "#]],
    );
    check(
        "think = \"1s\"\nrate = 5",
        expect![[r#"
        s.toml:7:1: warning: think has no effect without clients; remove it
    "#]],
    );
    check(
        "clients = 5\narrivals = \"even\"",
        expect![[r#"
        s.toml:8:1: warning: arrivals has no effect on clients that wait for their answers; remove it
    "#]],
    );
    check(
        "rate = 5\narrivals = \"evne\"",
        expect![[r#"
        s.toml:8:12: arrivals "evne" is unknown; did you mean "even"?
    "#]],
    );
    check(
        "rate = 5\narrivals = { bursts = 1000, last = \"1s\" }",
        expect![[r#"
        s.toml:8:12: every is missing in [workload.arrivals]; add every = "20s"
        s.toml:8:23: bursts 1000 is out of range; use 1..=100
    "#]],
    );
    check(
        "rate = 5\narrivals = { bursts = 10, last = \"2s\", every = \"2s\" }",
        expect![[r#"
            s.toml:8:48: a burst lasts no less than it is from one to the next; let every be longer than last
        "#]],
    );
    check(
        "rate = 5\nzipf = 1.1",
        expect![[r#"
        s.toml:8:1: warning: zipf has no effect without users; remove it
    "#]],
    );
    check(
        "rate = 5\nusers = 5\nzipf = 9",
        expect![[r#"
        s.toml:9:8: zipf 9 is out of range; use 0.01..=5
    "#]],
    );
}

#[test]
fn complaints_about_faults_of_several_origins_say_what_is_wrong_and_nothing_else() {
    let fault = |more: &str| {
        format!("rate = 5\n[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"refuse\"\n{more}")
    };
    check(
        &fault(""),
        expect![[r#"
        s.toml:8:1: origin is missing in [[fault]]; add origin = "b1:80"
    "#]],
    );
    check(
        &fault("origins = []"),
        expect![[r#"
        s.toml:12:11: origins names nobody; write origins = ["b1:80", "b2:80"]
    "#]],
    );
    check(
        &fault("origins = [\"b1:80\", \"b9:80\"]"),
        expect![[r#"
        s.toml:12:21: origins "b9:80" is no origin; the origins are b1:80, b2:80
    "#]],
    );
    check(
        &fault("origins = [\"b1:80\", \"b1:80\"]"),
        expect![[r#"
        s.toml:12:21: origins names one twice; remove it
    "#]],
    );
    check(
        &fault("origin = \"b1:80\"\norigins = [\"b2:80\"]"),
        expect![[r#"
        s.toml:8:1: a fault has origin and origins; remove one of them
    "#]],
    );
    let shrink = |more: &str| fault(more).replace("refuse", "shrink");
    check(
        &shrink("origin = \"b1:80\""),
        expect![[r#"
        s.toml:8:1: concurrency is missing in [[fault]]; add concurrency = 2
    "#]],
    );
    check(
        &shrink("origin = \"b1:80\"\nconcurrency = 8"),
        expect![[r#"
        s.toml:12:10: shrink leaves b1:80 no less than it has; let the origin have concurrency above 8
    "#]],
    );
}
