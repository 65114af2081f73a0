//! What templates are refused for, that they are written as they are read, and that whatever is
//! filled in stays where it belongs.

use lb_core::config::{BadTemplate, PathEdit, PathPattern, RequestEdits, Slot, Template};
use lb_core::edit::target;
use lb_core::{Request, Scheme};
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{Asked, literal_router, route, router, values};

fn bad(text: &str, slot: Slot) -> BadTemplate {
    Template::parse(text, slot, &["id"]).expect_err(text)
}

#[test]
fn a_template_is_refused_where_it_could_not_be_filled() {
    let unknown = |name: &str| BadTemplate::Unknown(name.into());
    assert_eq!(bad("{ip}", Slot::RequestHeader), unknown("ip"));
    assert_eq!(bad("{ID}", Slot::RequestHeader), unknown("ID"));
    assert_eq!(bad("{}", Slot::RequestHeader), unknown(""));
    let not_here = |name: &str| BadTemplate::NotHere(name.into());
    assert_eq!(bad("{backend}", Slot::RequestHeader), not_here("backend"));
    assert_eq!(bad("/{query}", Slot::Path), not_here("query"));
    assert_eq!(bad("{service}", Slot::OwnHeader), not_here("service"));
    for text in ["{", "}", "a{id", "{id}}", "{{id}"] {
        assert_eq!(bad(text, Slot::RequestHeader), BadTemplate::Brace, "{text}");
    }
    for (text, wrong) in [("a\r\nb", '\r'), ("a\nb", '\n'), ("\0", '\0'), ("é", 'é'), ("\t", '\t')]
    {
        assert_eq!(bad(text, Slot::ResponseHeader), BadTemplate::Character(wrong));
        assert_eq!(bad(text, Slot::Parameter), BadTemplate::Character(wrong));
    }
    assert_eq!(bad("/a?b", Slot::Path), BadTemplate::Character('?'));
    assert_eq!(bad("/a%2", Slot::Path), BadTemplate::Character('%'));
    assert_eq!(bad(" a", Slot::RequestHeader), BadTemplate::Edge);
    assert_eq!(bad("a", Slot::Path), BadTemplate::Start);
    assert_eq!(bad("{id}", Slot::Path), BadTemplate::Start);
    assert_eq!(bad(&"a".repeat(4_097), Slot::RequestHeader), BadTemplate::TooLong);
    assert_eq!(bad(&"{id}".repeat(17), Slot::RequestHeader), BadTemplate::TooLong);
}

#[test]
fn a_redirect_leads_where_it_was_written_and_nowhere_else() {
    for text in
        ["", "{id}", "x.example", "//x.example/", "ftp://x.example/", "https://", "https:///a"]
    {
        assert_eq!(bad(text, Slot::Redirect), BadTemplate::Start, "{text}");
    }
    for text in
        ["https://{host}::80/", "https://x.example:a/", "https://[::1/", "https://:80{path}"]
    {
        assert_eq!(bad(text, Slot::Redirect), BadTemplate::Start, "{text}");
    }
    for text in ["https://{id}.example.com/", "https://x.example{id}", "https://{method}/"] {
        assert_eq!(bad(text, Slot::Redirect), BadTemplate::Authority, "{text}");
    }
    assert_eq!(bad("https://{path}", Slot::Redirect), BadTemplate::Authority);
    assert_eq!(bad("https://me@x.example/", Slot::Redirect), BadTemplate::Character('@'));
    assert_eq!(bad("/a?b{query}", Slot::Redirect), BadTemplate::TwoQueries);
    assert_eq!(bad("{path}{query}{query}", Slot::Redirect), BadTemplate::TwoQueries);

    let table = router(vec![route("r", PathPattern::exact("/go/{*id}").expect("a pattern"))]);
    let to = |text: &str, url: &str| {
        let request = Asked::get(url);
        let found = table.find(&request).expect("it is taken");
        let template = Template::parse(text, Slot::Redirect, &["id"]).expect("a redirect");
        template.fill(&values(&request, &found)).unwrap_or_else(|| "nowhere".into())
    };
    assert_eq!(to("https://{host}{path}{query}", "h:80/go/a?b=c&d"), "https://h/go/a?b=c&d");
    assert_eq!(to("https://{host}:8443/{id}", "[::1]:80/go/a"), "https://[::1]:8443/a");
    assert_eq!(to("https://x.example?next={path}", "h/go/a"), "https://x.example?next=/go/a");
    assert_eq!(
        to("https://x.example/?a={id}", "h/go/b&c=d+e;f"),
        "https://x.example/?a=b%26c%3Dd%2Be%3Bf"
    );
    assert_eq!(to("/{id}{query}&c={id}", "h/go/a&b?d=e&f"), "/a&b?d=e&f&c=a%26b");
    assert_eq!(to("/{id}", "h/go//evil.example/"), "/evil.example/");
    assert_eq!(to("/{id}", "h/go/a?b"), "/a");
    assert_eq!(to("https://{host}{path}", "/go/a"), "nowhere");
    assert_eq!(to("https://{host}{path}", "evil.example\\@h/go/a"), "nowhere");
    assert_eq!(to("https://x.example{path}", "/go/a"), "https://x.example/go/a");
}

#[test]
fn what_is_filled_into_a_header_ends_nothing_there() {
    let table = router(vec![route("r", PathPattern::exact("/go/{*id}").expect("a pattern"))]);
    let filled = |text: &str, url: &str| {
        let request = Asked::get(url);
        let found = table.find(&request).expect("it is taken");
        let template = Template::parse(text, Slot::RequestHeader, &["id"]).expect("a value");
        template.fill(&values(&request, &found)).expect("it is no redirect")
    };
    let url = "h/go/7;a=1,\"b\\?c=d;e,f";
    assert_eq!(filled("u={id}; s=1", url), "u=7%3Ba=1%2C%22b%5C; s=1");
    assert_eq!(filled("{id}", url), "7%3Ba=1%2C%22b%5C");
    assert_eq!(filled("u={path}{query}", url), "u=/go/7%3Ba=1%2C%22b%5C?c=d%3Be%2Cf");
    assert_eq!(filled("{path}{query}", url), "/go/7;a=1,\"b\\?c=d;e,f");
    assert_eq!(filled("https://{host}/x{path}", url), "https://h/x/go/7;a=1,\"b\\");
    assert_eq!(filled("{path} {id}", "h/go/a,%2C"), "/go/a%2C%2C a%2C%2C");
}

const SLOTS: [Slot; 6] = [
    Slot::Redirect,
    Slot::Path,
    Slot::Parameter,
    Slot::RequestHeader,
    Slot::ResponseHeader,
    Slot::OwnHeader,
];

/// Templates that may stand in `slot`, of text and all that is known there.
fn some_template(slot: Slot) -> impl Strategy<Value = String> {
    let names: Vec<String> =
        slot.names(&["id", "rest"]).map(|name| format!("{{{name}}}")).collect();
    let piece = prop_oneof![
        select(vec!["a", "/", "=", "{{", "}}", "-", "%2F"]).prop_map(String::from),
        select(names),
    ];
    let start = match slot {
        Slot::Redirect => select(vec![
            "https://x.example/",
            "/",
            "{path}",
            "https://{host}/",
            "https://x.example/?a=",
        ]),
        Slot::Path => select(vec!["/", "{path}"]),
        _ => select(vec![""]),
    };
    (start, prop::collection::vec(piece, 0..6))
        .prop_map(|(start, pieces)| [start, &*pieces.concat()].concat())
        .prop_filter("is one", move |text| Template::parse(text, slot, &["id", "rest"]).is_ok())
}

fn some_slot_and_template() -> impl Strategy<Value = (Slot, String)> {
    select(SLOTS.to_vec()).prop_flat_map(|slot| (Just(slot), some_template(slot)))
}

/// Requests that no parser would let through.
fn some_hostile_request() -> impl Strategy<Value = Asked> {
    let text = || r"([a%/?&#=.\\\r\n\x00 @:é;,\x22+]|%2[eEfF]|%0[aAdD]|\.\./){0,12}";
    (text(), text(), text(), prop::option::of(text())).prop_map(|(method, host, path, query)| {
        Asked {
            method,
            host,
            scheme: Scheme::Https,
            path: format!("/p/{path}/q"),
            query,
            ..Asked::get("h/")
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_template_is_written_as_it_is_read((slot, text) in some_slot_and_template()) {
        let template = Template::parse(&text, slot, &["id", "rest"]).expect("it is one");
        prop_assert_eq!(template.to_string(), &*text);
    }

    #[test]
    fn any_text_is_a_template_or_is_refused(text in r"([{}a/%]|\PC|\{id\}|https://){0,12}") {
        for slot in SLOTS {
            if let Ok(template) = Template::parse(&text, slot, &["id"]) {
                prop_assert_eq!(template.to_string(), &*text);
            }
        }
    }

    #[test]
    fn whatever_is_filled_in_stays_where_it_belongs(
        (slot, text) in some_slot_and_template(),
        request in some_hostile_request(),
        pattern in select(vec!["/p/{id}/{*rest}", "/{*rest}", "/p/{*id}"]),
    ) {
        let path = PathPattern::exact(pattern).expect("a pattern");
        let table = literal_router(vec![route("r", path), route("all", PathPattern::any())]);
        let found = table.find(&request).expect("all are taken");
        let template = Template::parse(&text, slot, &["id", "rest"]).expect("it is one");
        let Some(filled) = template.fill(&values(&request, &found)) else {
            let asks_for_host = slot == Slot::Redirect && text.contains("{host}");
            prop_assert!(asks_for_host, "only a redirect to no host goes nowhere");
            return Ok(());
        };
        let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        prop_assert!(filled.bytes().all(is_visible), "{filled:?}");
        match slot {
            Slot::Path => {
                prop_assert!(filled.starts_with('/') && !filled.contains(['?', '#', ' ']), "{filled:?}");
                prop_assert!(!filled.split('/').any(|it| it == "." || it == ".."), "{filled:?}");
            }
            Slot::Parameter => prop_assert!(!filled.contains(['&', '#', '=', '+']), "{filled:?}"),
            Slot::Redirect => {
                prop_assert!(!text.contains('?') || !filled.contains(['&', '+', ';']), "{filled:?}");
                let host = request.host();
                let own = format!("https://{}/", host.split(':').next().unwrap_or_default());
                let is_own = filled.starts_with(&own) || filled.starts_with(&own.replace("./", "/"));
                prop_assert!(!filled.contains(['#', ' ', '\\']) && !filled.starts_with("//"), "{filled:?}");
                prop_assert!(
                    filled.starts_with('/') || filled.starts_with("https://x.example/") || is_own,
                    "{filled:?}"
                );
            }
            _ => {
                let is_url = (text.contains("{path}") || text.contains("{query}")) && !text.contains('=');
                prop_assert!(is_url || !filled.contains([';', ',', '"', '\\']), "{filled:?}");
            }
        }
    }

    #[test]
    fn edited_parameters_are_what_the_edits_say(request in some_hostile_request(), value in "[ -z|~]{0,8}") {
        let value = value.replace('{', "");
        let set = Template::parse(&value, Slot::Parameter, &[]).expect("plain text");
        let mut edits = RequestEdits { path: PathEdit::Keep, ..RequestEdits::default() };
        edits.query.set = vec![("a".into(), set)];
        edits.query.remove = vec!["=".into()];
        let table = literal_router(vec![route("all", PathPattern::any())]);
        let found = table.find(&request).expect("all are taken");
        let target = target(&[&edits], &values(&request, &found)).expect("it is short");
        let target = target.expect("a parameter is set");
        let path = found.followed(&request).unwrap_or(&request.path);
        let query = target.strip_prefix(path).and_then(|rest| rest.strip_prefix('?'));
        let query = query.expect("the path is what was matched, and there is a query");
        let named: Vec<&str> = query.split('&').filter(|pair| pair.starts_with("a=") || *pair == "a").collect();
        prop_assert_eq!(named.len(), 1, "{:?}", query);
        prop_assert!(!query.split('&').any(|pair| pair.starts_with("%3D=") || pair == "%3D"));
        // Twice is once.
        let again = Asked { query: Some(query.to_owned()), ..request.clone() };
        let twice = lb_core::edit::target(&[&edits], &values(&again, &found));
        prop_assert_eq!(twice, Ok(Some(target)));
    }
}
