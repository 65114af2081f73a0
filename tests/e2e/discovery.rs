//! Backends are found while requests run: they come and go, and nothing learned is lost.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::support::{Backend, Client, Dns, Proxy, Script, run, until};

/// A service whose only pool finds its backends by these words, with more `policies`.
fn config(dns: &Dns, discover: &str, policies: &str) -> String {
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"200ms\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         balance = {{ policy = \"round-robin\" }}\n\
         pool = [{{ discover = {{ {discover}, refresh_min = \"50ms\", refresh_max = \"50ms\" }} }}]\n\
         {policies}",
        dns.addr
    )
}

/// Backends on one port at several addresses of this machine.
async fn neighbours<const N: usize>(scripts: [fn() -> Script; N]) -> [Backend; N] {
    let at = |nth: usize, port| {
        let last = u8::try_from(nth + 1).unwrap();
        SocketAddr::new(Ipv4Addr::new(127, 0, 0, last).into(), port)
    };
    loop {
        let first = Backend::start(move |_, _| scripts[0]()).await;
        let mut all = vec![first];
        for (nth, script) in scripts.into_iter().enumerate().skip(1) {
            // Somebody else may have that port there.
            let Some(next) = Backend::start_at(at(nth, all[0].addr.port()), script).await else {
                break;
            };
            all.push(next);
        }
        if let Ok(all) = all.try_into() {
            return all;
        }
    }
}

fn ip(backend: &Backend) -> Ipv4Addr {
    match backend.addr {
        SocketAddr::V4(addr) => *addr.ip(),
        SocketAddr::V6(addr) => panic!("{addr} is of the other kind"),
    }
}

fn names(proxy: &Proxy) -> Vec<String> {
    proxy.service().backends().map(|backend| backend.name().to_owned()).collect()
}

async fn admin(proxy: &Proxy, path: &str) -> String {
    let asked = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    Client::ask(proxy.admin, &asked).await.text().to_owned()
}

/// What the admin listener says of the first source.
async fn source(proxy: &Proxy) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(&admin(proxy, "/discovery").await).unwrap();
    all[0].clone()
}

#[test]
fn backends_come_and_go_under_load_and_no_request_fails() {
    run(async {
        let dns = Dns::start().await;
        let backends = neighbours([
            || Script::ok("stays"),
            || Script::ok("comes"),
            || Script::ok("goes"),
            || Script::status(503, "ill"),
        ])
        .await;
        let [stays, comes, goes, ill] = &backends;
        let port = stays.addr.port();
        let breaker = "[service.breaker]\nconsecutive_failures = 2\nopen_for = \"5m\"";
        let zone = |of: &[&Backend]| {
            dns.addresses("app.internal", 0, &of.iter().map(|it| ip(it)).collect::<Vec<_>>());
        };
        zone(&[stays, goes, ill]);
        let discover = format!("dns = 'app.internal:{port}', family = 'ipv4'");
        let proxy = Proxy::start_with(&config(&dns, &discover, breaker)).await;

        let (done, ended) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_usize)));
        for nth in 0..4 {
            let (addr, done, ended) = (proxy.addr, Rc::clone(&done), Rc::clone(&ended));
            tokio::task::spawn_local(async move {
                let mut client = Client::connect(addr).await;
                while !done.get() {
                    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
                    let answer = client.answer().await.unwrap();
                    assert_eq!(answer.status, 200, "client {nth}: {}", answer.text());
                }
                ended.set(ended.get() + 1);
            });
        }
        until(|| ill.requests().len() == 2).await;
        for round in 0..10 {
            let who = if round % 2 == 0 { comes } else { goes };
            zone(&[ill, who, stays]);
            let url = who.url();
            until(|| names(&proxy).contains(&url) && names(&proxy).len() == 3).await;
            let before = who.requests().len();
            until(|| who.requests().len() > before + 20).await;
        }
        done.set(true);
        until(|| ended.get() == 4).await;
        assert_eq!(ill.requests().len(), 2, "its breaker is open through all lists");
        let (counted, sent) = (proxy.log().len(), stays.requests().len());
        assert!(counted > 400 && sent > 100, "{counted} exchanges, {sent} at the one that stays");
        assert!(proxy.log().iter().all(|line| line["status"] == 200));
        let metrics = admin(&proxy, "/metrics").await;
        let changed = format!(
            "lb_discovery_looks_total{{service=\"web\",pool=\"default\",source=\"dns \
             http://app.internal:{port} ipv4\",outcome=\"changed\"}} 11\n"
        );
        assert!(metrics.contains(&changed), "{metrics}");
        assert!(metrics.contains("lb_reloads_total 0\n"), "a list is no configuration");
    });
}

#[test]
fn connections_to_a_backend_that_stays_are_kept() {
    run(async {
        let dns = Dns::start().await;
        let [stays, comes] = neighbours([|| Script::ok("stays"), || Script::ok("comes")]).await;
        dns.addresses("app.internal", 0, &[ip(&stays)]);
        let discover = format!("dns = 'app.internal:{}', family = 'ipv4'", stays.addr.port());
        let proxy = Proxy::start_with(&config(&dns, &discover, "")).await;
        for count in [2, 1, 2, 1] {
            let all = [ip(&comes), ip(&stays)];
            dns.addresses("app.internal", 0, &all[2 - count..]);
            until(|| names(&proxy).len() == count).await;
            for _ in 0..count {
                assert_eq!(Client::get(proxy.addr).await.status, 200);
            }
        }
        assert_eq!((stays.requests().len(), stays.connections()), (4, 1));
    });
}

#[test]
fn the_last_list_stays_when_there_is_no_answer_or_an_empty_one() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        dns.addresses("app.internal", 0, &[ip(&backend)]);
        let discover = format!("dns = 'app.internal:{}'", backend.addr.port());
        let proxy = Proxy::start_with(&config(&dns, &discover, "")).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        assert_eq!(source(&proxy).await["trouble"], serde_json::Value::Null);
        for (change, said) in [
            (Dns::fail as fn(&Dns, &str), "no answer about app.internal"),
            (Dns::forget, "the answer has no backend"),
            (Dns::be_silent, "no answer about app.internal"),
            (|dns: &Dns, name: &str| dns.addresses(name, 0, &[]), "the answer has no backend"),
        ] {
            change(&dns, "app.internal");
            while !source(&proxy).await["trouble"].as_str().is_some_and(|it| it.contains(said)) {}
            assert_eq!(Client::get(proxy.addr).await.text(), "here", "{said}");
        }
        let looks = source(&proxy).await["looks"].clone();
        assert!(
            looks["failed"].as_u64() >= Some(2) && looks["empty"].as_u64() >= Some(2),
            "{looks}"
        );
        assert_eq!(looks["changed"], 1);
    });
}

#[test]
fn an_empty_answer_that_is_accepted_empties_the_pool_and_the_next_fills_it() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        let discover = format!("dns = 'app.internal:{}', empty = 'accept'", backend.addr.port());
        let proxy = Proxy::start_with(&config(&dns, &discover, "")).await;
        assert_eq!(Client::get(proxy.addr).await.status, 503, "there is no such name");
        dns.addresses("app.internal", 0, &[ip(&backend)]);
        until(|| names(&proxy).len() == 1).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        dns.forget("app.internal");
        until(|| names(&proxy).is_empty()).await;
        assert_eq!(Client::get(proxy.addr).await.status, 503);
    });
}

#[test]
fn clients_wait_at_the_start_for_the_first_answer() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        dns.be_silent("app.internal");
        let discover = format!("dns = 'app.internal:{}', family = 'ipv4'", backend.addr.port());
        let proxy = Proxy::start_with(&config(&dns, &discover, "")).await;
        let mut client = Client::connect(proxy.addr).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| dns.asked() > 0).await;
        dns.addresses("app.internal", 60, &[ip(&backend)]);
        assert_eq!(client.answer().await.unwrap().text(), "here");
    });
}

#[test]
fn an_answer_holds_as_long_as_it_says() {
    run(async {
        let dns = Dns::start().await;
        let [old, new] = neighbours([|| Script::ok("old"), || Script::ok("new")]).await;
        dns.addresses("app.internal", 1, &[ip(&old)]);
        let discover = format!("dns = 'app.internal:{}', family = 'ipv4'", old.addr.port());
        let held = config(&dns, &discover, "").replace("max = \"50ms\"", "max = \"1h\"");
        let proxy = Proxy::start_with(&held).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "old");
        dns.addresses("app.internal", 3_600, &[ip(&new)]);
        let begun = tokio::time::Instant::now();
        until(|| names(&proxy) == [new.url()]).await;
        assert!(begun.elapsed().as_millis() > 700, "not before its second is over");
        let asked = dns.asked();
        for _ in 0..50 {
            assert_eq!(Client::get(proxy.addr).await.text(), "new");
        }
        assert_eq!(dns.asked(), asked, "and this one holds for an hour");
    });
}

#[test]
fn srv_records_of_the_lowest_priority_serve_and_the_others_stand_behind() {
    run(async {
        let dns = Dns::start().await;
        let named = async |name: &'static str| Backend::start(move |_, _| Script::ok(name)).await;
        let (one, three, behind) =
            (named("one").await, named("three").await, named("behind").await);
        for host in ["n1.internal", "n2.internal"] {
            dns.addresses(host, 60, &[Ipv4Addr::LOCALHOST]);
        }
        let port = |backend: &Backend| backend.addr.port();
        let all = [
            (20, 1, port(&behind), "n2.internal"),
            (10, 1, port(&one), "n1.internal"),
            (10, 3, port(&three), "n2.internal"),
        ];
        dns.targets("_http._tcp.app.internal", 0, &all);
        let pools = "{ name = 'first', discover = { srv = '_http._tcp.app.internal', refresh_max = '50ms', refresh_min = '50ms' } }, \
                     { name = 'others', discover = { srv = '_http._tcp.app.internal', priority = 'others', refresh_max = '50ms', refresh_min = '50ms' } }";
        let text = config(&dns, "srv = 'a'", "");
        let start = text.find("pool = ").unwrap();
        let proxy = Proxy::start_with(&format!("{}pool = [{pools}]\n", &text[..start])).await;
        let mut seen = Vec::new();
        for _ in 0..8 {
            seen.push(Client::get(proxy.addr).await.text().to_owned());
        }
        seen.sort();
        assert_eq!(seen, ["one", "one", "three", "three", "three", "three", "three", "three"]);
        let url = |host: &str, backend: &Backend| format!("http://{host}:{}", port(backend));
        let mut first = vec![url("n1.internal", &one), url("n2.internal", &three)];
        first.push(url("n2.internal", &behind));
        assert_eq!(names(&proxy), first, "they are called by their hosts");
        // Nobody is left in front.
        dns.targets("_http._tcp.app.internal", 0, &[(0, 0, 0, "")]);
        dns.targets("_http._tcp.app.internal", 0, &all[..1]);
        until(|| names(&proxy) == [url("n2.internal", &behind)]).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "behind");
    });
}

/// A file of its own for each test.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Puts a text in its place whole: who looks meanwhile sees the one before it.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

#[test]
fn a_list_in_a_file_is_followed_and_a_mistake_in_it_changes_nothing() {
    run(async {
        let dns = Dns::start().await;
        let named = async |name: &'static str| Backend::start(move |_, _| Script::ok(name)).await;
        let (old, new) = (named("old").await, named("new").await);
        let path = file("backends.json");
        put(&path, &format!("[{{ \"url\": \"{}\" }}]", old.url()));
        let discover = format!("file = '{}'", path.display());
        let text = config(&dns, &discover, "");
        let (start, end) = (text.find(", refresh_min").unwrap(), text.find(" } }]").unwrap());
        let text = format!("{}, every = '50ms'{}", &text[..start], &text[end..]);
        let proxy = Proxy::start_with(&text).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "old");

        while source(&proxy).await["looks"]["same"] == 0 {}
        put(&path, &format!("[{{ \"url\": \"{}\", \"wieght\": 2 }}]", new.url()));
        let trouble = async || source(&proxy).await["trouble"].as_str().map(str::to_owned);
        while trouble().await.is_none() {}
        let said = trouble().await.unwrap();
        assert!(
            said.contains("backends.json:1:") && said.contains("did you mean weight?"),
            "{said}"
        );
        assert_eq!(Client::get(proxy.addr).await.text(), "old");
        // As long as it stands there.
        let looks = async || source(&proxy).await["looks"].clone();
        let same = looks().await["same"].clone();
        while looks().await["failed"].as_u64() < Some(3) {}
        assert_eq!(looks().await["same"], same);

        let more = format!(
            "[{{ \"url\": \"{}\", \"weight\": 2 }}, {{ \"url\": \"{}\" }}]",
            new.url(),
            old.url()
        );
        put(&path, &more);
        until(|| names(&proxy).len() == 2).await;
        assert_eq!(trouble().await, None);
        std::fs::remove_file(&path).unwrap();
        while trouble().await.is_none() {}
        assert_eq!(names(&proxy).len(), 2);
        assert_eq!(source(&proxy).await["looks"]["changed"], 2);
    });
}

#[test]
fn a_reload_keeps_what_was_found_and_whom_a_pool_has_until_there_is_an_answer() {
    run(async {
        let dns = Dns::start().await;
        let [stays, comes] = neighbours([|| Script::ok("stays"), || Script::ok("comes")]).await;
        let port = stays.addr.port();
        let still = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
             pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n",
            stays.url()
        );
        let proxy = Proxy::start_with(&still).await;
        // From a list that stands there to one that is found, while nobody answers.
        dns.be_silent("app.internal");
        let discover = format!("dns = 'app.internal:{port}', family = 'ipv4'");
        let found = config(&dns, &discover, "");
        proxy.reload(&found);
        assert_eq!(Client::get(proxy.addr).await.text(), "stays");
        dns.addresses("app.internal", 0, &[ip(&stays), ip(&comes)]);
        until(|| names(&proxy).len() == 2).await;
        // Another reload forgets nothing, and asks as before.
        proxy.reload(&found.replace("round-robin", "first"));
        assert_eq!(names(&proxy).len(), 2);
        let asked = dns.asked();
        until(|| dns.asked() > asked).await;
        proxy.reload(&still);
        assert_eq!(names(&proxy), [stays.url()]);
        assert_eq!(admin(&proxy, "/discovery").await, "[]\n");
    });
}

#[test]
fn a_pool_that_is_only_called_otherwise_keeps_whom_its_source_found() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        dns.addresses("app.internal", 0, &[ip(&backend)]);
        let discover = format!("dns = 'app.internal:{}', family = 'ipv4'", backend.addr.port());
        let config = |pool: &str, service: &str| {
            config(&dns, &discover, "")
                .replace("pool = [{ ", &format!("pool = [{{ name = \"{pool}\", "))
                .replace("name = \"web\"", &format!("name = \"{service}\""))
        };
        let proxy = Proxy::start_with(&config("near", "web")).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        dns.fail("app.internal");
        for (pool, service) in [("far", "web"), ("far", "site"), ("near", "shop")] {
            proxy.reload(&config(pool, service));
            assert_eq!(Client::get(proxy.addr).await.text(), "here", "{service}/{pool}");
        }
    });
}

#[test]
fn a_reload_waits_for_what_a_new_source_finds_and_says_which_has_found_nothing() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        dns.addresses("old.internal", 0, &[ip(&backend)]);
        dns.addresses("new.internal", 0, &[ip(&backend)]);
        dns.fail("gone.internal");
        let config = |name: &str, service: &str| {
            let port = backend.addr.port();
            let discover = format!("dns = '{name}.internal:{port}', family = 'ipv4'");
            config(&dns, &discover, "").replace("\"web\"", &format!("\"{service}\""))
        };
        let proxy = Proxy::start_with(&config("old", "web")).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        let reload = async |name: &str, service: &str| {
            let config = Proxy::config(&config(name, service));
            let ahead = proxy.gateway.look_ahead(&config).await;
            proxy.gateway.reload_with(config, &ahead, &|path| std::fs::read(path)).unwrap();
            (names(&proxy).len(), proxy.gateway.unfound().len())
        };
        assert_eq!(reload("new", "site").await, (1, 0), "at once");
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        assert_eq!(reload("gone", "shop").await, (0, 1));
    });
}

#[test]
fn one_target_about_which_nobody_answers_takes_none_of_the_others_away() {
    run(async {
        let dns = Dns::start().await;
        let all = [
            Backend::start(|_, _| Script::ok("one")).await,
            Backend::start(|_, _| Script::ok("two")).await,
        ];
        let [one, two] = &all;
        let targets =
            [(1, 1, one.addr.port(), "one.internal"), (1, 1, two.addr.port(), "two.internal")];
        dns.targets("_http._tcp.internal", 0, &targets);
        dns.addresses("one.internal", 0, &[ip(one)]);
        dns.fail("two.internal");
        let discover = "srv = '_http._tcp.internal'";
        let proxy = Proxy::start_with(&config(&dns, discover, "")).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "one");
        let troubled = || {
            let notices = proxy.notices();
            notices.iter().filter(|it| it.contains("no answer about two.internal")).count()
        };
        assert_eq!((names(&proxy).len(), troubled()), (1, 1), "{:?}", proxy.notices());
        dns.addresses("two.internal", 0, &[ip(two)]);
        until(|| names(&proxy).len() == 2).await;
        // What was known of it holds while nobody answers.
        dns.fail("two.internal");
        until(|| troubled() == 2).await;
        assert_eq!(names(&proxy).len(), 2);
        let answers = [Client::get(proxy.addr).await, Client::get(proxy.addr).await];
        assert_eq!(answers.iter().filter(|it| it.text() == "two").count(), 1);
        // Without any there is no answer at all.
        dns.fail("one.internal");
        dns.targets("_http._tcp.internal", 0, &[(1, 1, 9, "one.internal")]);
        until(|| proxy.notices().iter().any(|it| it.contains("about one.internal"))).await;
        assert_eq!(names(&proxy).len(), 2, "the last list stays in force");
    });
}

#[test]
fn one_target_that_can_be_no_backend_takes_none_of_the_others_away() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        let name = "_http._tcp.internal";
        dns.addresses("one.internal", 0, &[ip(&backend)]);
        let good = (1, 1, backend.addr.port(), "one.internal");
        // A service that has no port, as registries say it.
        dns.targets(name, 0, &[good, (1, 1, 0, "two.internal")]);
        let proxy = Proxy::start_with(&config(&dns, &format!("srv = '{name}'"), "")).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        let said = source(&proxy).await;
        let trouble = said["trouble"].as_str().expect("it is told");
        assert!(trouble.contains("http://two.internal:0") && said["ageSeconds"].is_number());
        for odd in ["*.internal", "web.1"] {
            dns.targets(name, 0, &[(1, 1, 80, odd), good]);
            until(|| proxy.notices().iter().any(|it| it.contains(odd))).await;
            assert_eq!(Client::get(proxy.addr).await.text(), "here", "{odd}");
        }
        // Nothing but odd ones is no answer.
        dns.targets(name, 0, &[(1, 1, 80, "web.1")]);
        until(|| proxy.notices().iter().any(|it| it.contains("the last backend stays"))).await;
        assert_eq!(names(&proxy).len(), 1);
    });
}

#[test]
fn an_answer_that_says_neither_who_is_there_nor_that_nobody_is_changes_nothing() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        let discover = format!("dns = 'app.internal:{}', empty = 'accept'", backend.addr.port());
        let proxy = Proxy::start_with(&config(&dns, &discover, "")).await;
        // Codes that nobody knows, and one who sends us elsewhere.
        for code in [Some(11), Some(15), None] {
            dns.addresses("app.internal", 0, &[ip(&backend)]);
            while source(&proxy).await["backends"][0].is_null() {}
            let failed = async || source(&proxy).await["looks"]["failed"].as_u64();
            let before = failed().await;
            match code {
                Some(code) => dns.answer_with("app.internal", code),
                None => dns.refer("app.internal"),
            }
            while failed().await == before {}
            assert_eq!(Client::get(proxy.addr).await.text(), "here");
        }
        assert_eq!(source(&proxy).await["looks"]["changed"], 1);
    });
}

#[test]
fn whom_a_pool_keeps_until_its_source_answers_no_other_pool_gets() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("private")).await;
        dns.fail("app.internal");
        let discover = format!("dns = 'app.internal:{}', family = 'ipv4'", backend.addr.port());
        let one = config(&dns, &discover, "").replace("\"*\"", "\"a.test\"");
        let (top, service) = one.split_at(one.find("[[service]]").unwrap());
        let still = {
            let start = service.find("discover = ").unwrap();
            let end = service.find(" }]").unwrap();
            let url = backend.url();
            format!("{}backends = [{{ url = \"{url}\" }}]{}", &service[..start], &service[end..])
        };
        let other = service.replace("\"web\"", "\"other\"").replace("a.test", "b.test");
        let proxy = Proxy::start_with(&format!("{top}{still}")).await;
        let get = async |host: &str| {
            let asked = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            Client::ask(proxy.addr, &asked).await.status
        };
        for (now, a, b, unfound) in [
            (format!("{top}{service}"), 200, 404, 1),
            (format!("{top}{service}{other}"), 200, 503, 2),
            (format!("{top}{other}"), 404, 503, 1),
        ] {
            proxy.reload(&now);
            assert_eq!((get("a.test").await, get("b.test").await), (a, b));
            assert_eq!(proxy.gateway.unfound().len(), unfound);
            assert_eq!(source(&proxy).await["borrowed"], a == 200 && unfound == 1, "{now}");
        }
        dns.addresses("app.internal", 0, &[ip(&backend)]);
        until(|| proxy.gateway.unfound().is_empty()).await;
        assert_eq!(
            (get("b.test").await, source(&proxy).await["borrowed"].clone()),
            (200, false.into())
        );
    });
}
