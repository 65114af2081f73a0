//! What is done to a proxy, and who stays or means harm: noticed if it happens, and a failure if not.

use expect_test::{Expect, expect};
use lb_sim::{Class, Engine, Scenario, Verdict, report, scenario, trace};

/// Three seconds in front of one backend; `more` goes on in the table of the workload.
fn text(more: &str) -> String {
    format!(
        r#"# A test of a proxy's life.
schema = 1
duration = "3s"

[config.server]
drain_timeout = "400ms"

[[config.listener]]
bind = "0.0.0.0:8080"

[[config.service]]
name = "web"
hosts = ["*"]

[[config.service.pool]]
backends = [{{ url = "http://b1" }}]

[[origin]]
at = "b1:80"
latency = "50ms"

[workload]
{more}
"#
    )
}

const RELOAD: &str = r#"
[[action]]
at = "2s"
kind = "reload"

[[action.config.listener]]
bind = "0.0.0.0:8080"

[[action.config.service]]
name = "web"
hosts = ["*"]

[[action.config.service.pool]]
backends = [{ url = "http://b1" }]
"#;

fn load(text: &str) -> (Option<Scenario>, String) {
    let (scenario, diagnostics) = scenario::load(&lb_config::Source { name: "s.toml", text });
    let lines: Vec<String> = diagnostics.iter().map(|it| format!("{it}\n")).collect();
    (scenario, lines.concat())
}

/// The verdict on a run, its report, and its trace.
fn judged(text: &str) -> (Verdict, String, String) {
    let (scenario, said) = load(text);
    let scenario = scenario.unwrap_or_else(|| panic!("{said}"));
    let run = Engine::Net.run(&scenario, 7);
    let verdict = Verdict::of(&scenario, 7, &run);
    let report = report::verdict(&scenario, &verdict, Engine::Net);
    (verdict, report, trace::text(&run.log))
}

#[test]
fn a_reload_in_the_midst_of_requests_is_rehearsed() {
    let (verdict, report, trace) = judged(&text(&format!("rate = 300\n{RELOAD}")));
    assert_eq!((verdict.class(), &verdict.met[..]), (None, &[true][..]), "{report}");
    assert!(trace.contains(" reloaded 1\n") && trace.contains(" serves 1\n"), "{trace}");
}

#[test]
fn a_reload_that_no_request_follows_proves_nothing() {
    let rare = "rate = 0.6\narrivals = \"even\"\n";
    let (verdict, report, _) = judged(&text(&format!("{rare}{RELOAD}")));
    assert_eq!((verdict.class(), verdict.met), (Some(Class::Toothless), vec![false]), "{report}");
}

#[test]
fn a_drain_with_nothing_to_wait_for_proves_nothing() {
    let rare = "rate = 0.6\narrivals = \"even\"\n[[action]]\nat = \"2500ms\"\nkind = \"drain\"";
    let (verdict, report, _) = judged(&text(rare));
    assert_eq!((verdict.class(), verdict.met), (Some(Class::Toothless), vec![false]), "{report}");
    assert!(report.contains("drain at 2s500ms met nobody"), "{report}");
}

#[test]
fn what_a_drain_does_not_take_is_turned_away_and_no_error() {
    let drain = "rate = 300\n[[action]]\nat = \"2s\"\nkind = \"drain\"\n\
                 [expect]\nat_end = [\"error_ratio == 0\", \"turned_away >= 200\"]";
    let (verdict, report, trace) = judged(&text(drain));
    assert_eq!(verdict.class(), None, "{report}");
    assert!(trace.contains(" drained\n"), "{trace}");
}

#[test]
fn a_tunnel_hears_every_word_until_its_client_is_done() {
    let (verdict, report, trace) = judged(&text("rate = 50\n[tunnels]\ncount = 2\nover = \"1ms\""));
    assert_eq!(verdict.class(), None, "{report}");
    assert_eq!(trace.matches("end=Done words=12").count(), 2, "{trace}");
    assert!(report.contains("✓ tunnels last, and end with the drain"), "{report}");
}

#[test]
fn a_tunnel_is_cut_when_the_drain_is_over_and_not_before() {
    let drain = "rate = 50\n[tunnels]\ncount = 2\n[[action]]\nat = \"2s\"\nkind = \"drain\"";
    let (verdict, report, trace) = judged(&text(drain));
    assert_eq!(verdict.findings.iter().map(|it| it.violations.len()).sum::<usize>(), 0, "{report}");
    let cut = |line: &&str| line.contains("end=CutOff");
    let at = |line: &str| line.split(' ').next().and_then(|at| at.parse::<u64>().ok());
    let cuts: Vec<_> = trace.lines().filter(cut).filter_map(at).collect();
    assert!(cuts.len() == 2 && cuts.iter().all(|at| *at >= 2_400_000), "{cuts:?}");
}

#[test]
fn an_attack_that_is_too_slow_to_be_one_is_let_be() {
    let slow =
        "rate = 50\n[[attack]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"rapid_reset\"\nrate = 20";
    let (verdict, report, _) = judged(&text(slow));
    assert_eq!((verdict.class(), verdict.repelled), (Some(Class::Toothless), vec![false]));
    assert!(report.contains("rapid_reset at 1s was let be"), "{report}");
}

#[test]
fn a_goodbye_that_no_connection_comes_to_say_is_not_noticed() {
    let h2 = |requests| {
        let fault = format!(
            "rate = 100\nprotocol = \"h2\"\n[[fault]]\nat = \"1s\"\nfor = \"1s\"\n\
             kind = \"goaway\"\nrequests = {requests}\norigin = \"b1:80\""
        );
        let text = text(&fault).replace("latency =", "protocol = \"h2\"\nlatency =");
        let text = text.replace("hosts = [\"*\"]", "hosts = [\"*\"]\nprotocol = \"h2\"");
        text.replace("schema = 1", "schema = 1\nrecover_within = \"500ms\"")
    };
    let (verdict, report, _) = judged(&h2(10));
    assert_eq!(verdict.bit, [true], "{report}");
    let (verdict, report, _) = judged(&h2(10_000));
    assert_eq!((verdict.class(), verdict.bit), (Some(Class::Toothless), vec![false]), "{report}");
}

#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(more: &str, expected: Expect) {
    expected.assert_eq(&load(&text(&format!("rate = 50\n{more}"))).1);
}

#[test]
fn complaints_say_what_is_wrong_and_nothing_else() {
    check(
        "[[action]]\nat = \"1s\"\nkind = \"relaod\"\nconfig = 1",
        expect![[r#"
            s.toml:26:8: kind "relaod" is unknown; did you mean "reload"?
        "#]],
    );
    check(
        "[[action]]\nat = \"1s\"\nkind = \"drain\"\n[[action]]\nat = \"2s\"\nkind = \"drain\"",
        expect![[r#"
            s.toml:1:1: an action comes after the proxy was told to drain; let the drain be the last action
        "#]],
    );
    check(
        "[[action]]\nat = \"4s\"\nkind = \"drain\"",
        expect![[r#"
        s.toml:1:1: the run ends before its last action; let duration be longer, or the action earlier
    "#]],
    );
    check(
        &RELOAD.replace("8080", "8081").replace("b1", "b2"),
        expect![[r#"
            s.toml:1:1: a reload closes the listener that clients ask; let every reload have the first listener of [config]
            s.toml:37:29: backend b2:80 has no origin; add [[origin]] with at = "b2:80"
        "#]],
    );
    check(
        "[[action]]\nat = \"1s\"\nkind = \"reload\"",
        expect![[r#"
            s.toml:24:1: listener is missing in [action.config]; add [[action.config.listener]] with bind = "0.0.0.0:8080"
            s.toml:24:1: service is missing in [action.config]; add [[action.config.service]] with name, hosts and backends in a pool
        "#]],
    );
    check(
        "[tunnels]\nevery = \"1s\"",
        expect![[r#"
            s.toml:24:1: count is missing in [tunnels]; add count = 20
        "#]],
    );
    check(
        "[[attack]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"slowloris\"",
        expect![[r#"
            s.toml:27:8: kind "slowloris" is unknown; use one of "rapid_reset"
        "#]],
    );
    check(
        "connections = 2",
        expect![[r#"
            s.toml:24:1: warning: connections has no effect without protocol = "h2"; remove it
        "#]],
    );
    check(
        "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"goaway\"\nrequests = 5\norigin = \"b1:80\"",
        expect![[r#"
            s.toml:3:12: the run ends before the world has recovered; let duration be longer, or the faults end earlier
            s.toml:29:10: goaway cannot happen to this origin; let the origin have protocol = "h2"
        "#]],
    );
}
