//! The typed reader by itself, as a scenario file would use it.

use expect_test::{Expect, expect};
use lb_config::read::{Document, Mistake, Table};
use lb_config::{Source, load_table};

/// Reads `text` by `read` and compares what it made of it, or else what was wrong.
#[expect(clippy::needless_pass_by_value, reason = "calls read best with the text in place")]
fn check(text: &str, read: impl FnOnce(&mut Table<'_>) -> String, expected: Expect) {
    let document = Document::parse(&Source { name: "s.toml", text });
    let value = read(&mut document.root());
    let (value, diagnostics) = document.finish(Some(value));
    let lines: Vec<String> = diagnostics.iter().map(|found| format!("{found}\n")).collect();
    expected.assert_eq(&format!("{}{}", lines.concat(), value.unwrap_or_default()));
}

#[test]
fn names_the_user_chose_come_in_the_order_of_the_file() {
    let rates = |root: &mut Table<'_>| {
        let rates = root.table("rate").entries().into_iter().map(|(name, value)| {
            let rate = value.number(0.0..=1.0);
            format!("{} {:?}", name.value, rate)
        });
        rates.collect::<Vec<_>>().join(", ")
    };
    check("[rate]\nzulu = 0.5\nalpha = 1", rates, expect!["zulu Some(0.5), alpha Some(1.0)"]);
    check(
        "rate = { a = 'x', b = 1.5, c = nan, d = -1, e = 99999999999999999999999999999999999999999 }",
        rates,
        expect![[r#"
            s.toml:1:14: a "x" is a text; write a number
            s.toml:1:23: b 1.5 is out of range; use 0..=1
            s.toml:1:32: c nan is out of range; use 0..=1
            s.toml:1:41: d -1 is out of range; use 0..=1
            s.toml:1:49: e 99999999999999999999999999999999999999999 is out of range; use 0..=1
        "#]],
    );
    check("", rates, expect![""]);
}

#[test]
fn a_key_can_be_read_in_more_than_one_way() {
    let read = |root: &mut Table<'_>| {
        let rate = root.field("rate", |value| match value.as_integer() {
            Some(rate) => Some(format!("{rate} a second")),
            None if value.is_text() => value.parsed(|text| match text {
                "max" => Ok("as fast as it goes".to_owned()),
                _ => Err(Mistake::new("is no rate", "write a number or \"max\"")),
            }),
            None => value.text().map(str::to_owned),
        });
        rate.or("unsaid".to_owned())
    };
    check("rate = 0x10", read, expect!["16 a second"]);
    check("rate = 'max'", read, expect!["as fast as it goes"]);
    check(
        "rate = 'min'",
        read,
        expect![[r#"
        s.toml:1:8: rate "min" is no rate; write a number or "max"
    "#]],
    );
    check(
        "rate = false",
        read,
        expect![[r#"
        s.toml:1:8: rate false is a boolean; write a text in quotes
    "#]],
    );
    check("", read, expect!["unsaid"]);
}

#[test]
fn a_list_without_its_mistakes_is_not_an_empty_list() {
    let read = |root: &mut Table<'_>| {
        let list = root.list("list", |item| item.integer(1..=9_u8));
        format!("{:?}", list.given().map(|list| list.value))
    };
    check("list = []", read, expect!["Some([])"]);
    check("list = [1, 2]", read, expect!["Some([1, 2])"]);
    check(
        "list = ['a']",
        read,
        expect![[r#"
        s.toml:1:9: list "a" is a text; write a whole number
    "#]],
    );
    check(
        "list = [[1]]",
        read,
        expect![[r#"
        s.toml:1:9: list is an array; write a whole number
    "#]],
    );
}

#[test]
fn a_table_says_whether_it_and_its_fields_were_written() {
    let read = |root: &mut Table<'_>| {
        let mut table = root.table("client");
        let rate = table.integer("rate", 1..=9_u64).or_given(5);
        format!("{} {} {}", table.said(), rate.said, rate.value)
    };
    check("", read, expect!["false false 5"]);
    check("[client]", read, expect!["true false 5"]);
    check("client.rate = 5", read, expect!["true true 5"]);
}

#[test]
fn an_embedded_configuration_is_reported_at_its_place_in_the_file() {
    let read = |root: &mut Table<'_>| {
        let config = load_table(root.table("config"));
        config.map_or("none".into(), |config| config.services[0].core.name.clone())
    };
    check(
        "[[config.listener]]\nbind = '0.0.0.0:80'\n\n[[config.service]]\nname = 'web'\nhosts = ['*']\n\
         [[config.service.pool]]\nbackends = [{ url = 'http://b1' }]",
        read,
        expect!["web"],
    );
    check(
        "seed = 7",
        read,
        expect![[r#"
            s.toml:1:1: listener is missing in [config]; add [[config.listener]] with bind = "0.0.0.0:8080"
            s.toml:1:1: service is missing in [config]; add [[config.service]] with name, hosts and backends in a pool
            s.toml:1:1: unknown key seed at the top of the file; what can be set here is config
        "#]],
    );
    check(
        "[config]\nlistner = 1\n[[config.service]]\nretry.attempts = 3",
        read,
        expect![[r#"
            s.toml:1:1: listener is missing in [config]; add [[config.listener]] with bind = "0.0.0.0:8080"
            s.toml:2:1: unknown key listner in [config]; did you mean listener?
            s.toml:3:1: hosts is missing in [[config.service]]; add hosts = ["*"] for any host, or a route that leads here
            s.toml:3:1: name is missing in [[config.service]]; add name = "web"
            s.toml:3:1: pool is missing in [[config.service]]; add [[config.service.pool]] with backends = [{ url = "http://10.0.0.1:3000" }]
            s.toml:4:7: unknown key attempts in [config.service.retry]; what can be set here is attempts_max, attempts_per_backend, on, statuses, methods, retry_after_max, when_spent, replay_buffer, budget, backoff, hedge
        "#]],
    );
}

#[test]
fn keys_and_values_with_line_breaks_make_diagnostics_of_one_line() {
    let read = |root: &mut Table<'_>| {
        let _ = root.choice("a", &[("x", ())]).given();
        String::new()
    };
    check(
        "\"b\\nc\" = 1\na = \"y\\nz\"",
        read,
        expect![[r#"
        s.toml:1:1: unknown key b c at the top of the file; what can be set here is a
        s.toml:2:5: a "y z" is unknown; use one of "x"
    "#]],
    );
}
