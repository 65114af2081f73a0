//! One origin may stand for many, and a scenario may mean something to be broken.

use expect_test::{Expect, expect};
use lb_sim::{Class, Engine, Scenario, Verdict, report, scenario};

/// Ten seconds of three servers, of which the configuration names one.
fn text(origin: &str, expect: &str, backends: &str) -> String {
    format!(
        r#"# A test of lineups.
schema = 1
engine = "model"
duration = "10s"
recover_within = "2s"

[workload]
rate = 300

[[origin]]
at = "b1:80"
{origin}

[[fault]]
at = "2s"
for = "4s"
kind = "status"
code = 503
origin = "b2:80"

[expect]
{expect}

[[config.listener]]
bind = "0.0.0.0:8080"

[[config.service]]
name = "web"
hosts = ["web"]

[config.service.balance]
policy = "round-robin"

[config.service.breaker]
enabled = false

[config.service.retry]
attempts_max = 1

[[config.service.pool]]
backends = [{backends}]
"#
    )
}

const ONE: &str = "{ url = \"http://b1\", weight = 2 }";

fn load(text: &str) -> (Option<Scenario>, String) {
    let (scenario, diagnostics) = scenario::load(&lb_config::Source { name: "s.toml", text });
    let lines: Vec<String> = diagnostics.iter().map(|it| format!("{it}\n")).collect();
    (scenario, lines.concat())
}

fn judged(expect: &str) -> (Verdict, String) {
    let (scenario, said) = load(&text("count = 3", expect, ONE));
    let scenario = scenario.unwrap_or_else(|| panic!("{said}"));
    let verdict = Verdict::of(&scenario, 7, &Engine::Model.run(&scenario, 7));
    let report = report::verdict(&scenario, &verdict, Engine::Model);
    (verdict, report)
}

#[test]
fn a_backend_stands_for_all_servers_of_its_lineup_with_its_weight() {
    let (scenario, said) = load(&text("count = 3", "", ONE));
    let scenario = scenario.unwrap_or_else(|| panic!("{said}"));
    let hosts: Vec<&str> = scenario.origins.iter().map(|it| it.host.as_str()).collect();
    assert_eq!(hosts, ["b1", "b2", "b3"]);
    let pool = &scenario.config.services[0].core.pools[0];
    let backends: Vec<(&str, u32)> =
        pool.backends.iter().map(|it| (it.name.as_str(), it.weight)).collect();
    assert_eq!(backends, [("http://b1:80", 2), ("http://b2:80", 2), ("http://b3:80", 2)]);
}

#[test]
fn a_part_of_the_run_is_measured_by_its_times() {
    let expect = "at_end = [\"share_max@0s..10s <= 0.34\", \"share_min >= 0.33\", \
                  \"amplification == 1\", \"mean <= 20ms\", \"goodput@7s..9s >= 250\", \
                  \"error_ratio@2500ms..5500ms >= 0.3\", \"error_ratio@6500ms..10s == 0\"]";
    let (verdict, report) = judged(expect);
    assert_eq!(verdict.class(), None, "{report}");
}

#[test]
fn what_is_meant_to_be_broken_and_holds_fails() {
    let name = "the world recovers once it is healed";
    let (verdict, report) = judged(&format!("breaks = [\"{name}\"]"));
    assert_eq!(verdict.class(), Some(Class::Liveness), "{report}");
    assert!(report.contains(&format!("✗ breaks \"{name}\"")), "{report}");
}

#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&load(text).1);
}

#[test]
fn complaints_say_what_a_lineup_needs() {
    let both = format!("{ONE}, {{ url = \"http://b2\" }}");
    check(
        &text("count = 3", "", &both),
        expect![[r#"
            s.toml:1:1: backend b2:80 is named, and count has another stand for it; name the first alone, or write no count
        "#]],
    );
    let nameless = text("count = 3", "", ONE).replace("at = \"b1:80\"", "at = \"web:80\"");
    let said = load(&nameless).1;
    let line = "s.toml:12:9: count needs a host that ends in a number, and web does not";
    assert!(said.contains(line), "{said}");
    let said = load(&text("count = 3", "breaks = [\"peace\"]", ONE)).1;
    assert!(
        said.contains("[expect] breaks \"peace\", which is unknown; the invariants are"),
        "{said}"
    );
    let said = load(&text("count = 3", "at_end = [\"p99@5s..2s <= 1s\"]", ONE)).1;
    assert!(said.contains("names no phase; write @calm"), "{said}");
}
