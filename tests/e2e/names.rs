//! Backends that are known by their names: where the name leads, and for how long.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{Backend, Client, Dns, Proxy, Script, run, until};

/// A service over one backend by this name, of which `dns` knows, with more `settings` at the top.
fn config(dns: &Dns, name: &str, port: u16, settings: &str) -> String {
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"100ms\"\n{settings}\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         keep_alive = {{ idle_max = 0 }}\nretry = {{ attempts_max = 1 }}\n\
         pool = [{{ backends = [{{ url = \"http://{name}:{port}\" }}] }}]\n",
        dns.addr
    )
}

/// Two backends on one port, at 127.0.0.1 and 127.0.0.2.
async fn neighbours() -> [Backend; 2] {
    loop {
        let old = Backend::start(|_, _| Script::ok("old")).await;
        let beside = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), old.addr.port());
        // Somebody else may have that port there.
        if let Some(new) = Backend::start_at(beside, || Script::ok("new")).await {
            return [old, new];
        }
    }
}

const OLD: Ipv4Addr = Ipv4Addr::LOCALHOST;
const NEW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn a_name_is_asked_for_once_while_its_answer_holds_and_followed_when_it_has_run_out() {
    run(async {
        let dns = Dns::start().await;
        let [old, new] = neighbours().await;
        dns.addresses("app.internal", 1, &[OLD]);
        let proxy = Proxy::start_with(&config(&dns, "app.internal", old.addr.port(), "")).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(Client::get(proxy.addr).await.text(), "old");
        let asked = dns.asked();
        assert_eq!(Client::get(proxy.addr).await.text(), "old");
        assert_eq!(asked, dns.asked(), "a connection each, and one lookup");
        dns.addresses("app.internal", 3_600, &[NEW]);
        while Client::get(proxy.addr).await.text() == "old" {}
        assert!(begun.elapsed().as_millis() >= 1_000, "not before its second is over");
        let asked = dns.asked();
        for _ in 0..20 {
            assert_eq!(Client::get(proxy.addr).await.text(), "new");
        }
        assert_eq!(dns.asked(), asked, "and this one holds for an hour");
        assert!(old.connections() >= 2 && new.connections() == 21);
    });
}

#[test]
fn many_that_come_at_once_cost_one_lookup() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        dns.be_silent("app.internal");
        let proxy = Proxy::start_with(&config(&dns, "app.internal", backend.addr.port(), "")).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = Client::connect(proxy.addr).await;
            client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            clients.push(client);
        }
        until(|| proxy.in_flight() == 20 && dns.asked() > 0).await;
        dns.addresses("app.internal", 60, &[OLD]);
        for mut client in clients {
            assert_eq!(client.answer().await.unwrap().text(), "here");
        }
        // Of each kind of address, and once more where there was no answer at first.
        assert!(dns.asked() <= 4, "{} questions", dns.asked());
    });
}

#[test]
fn the_last_answer_serves_while_name_servers_fail() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        dns.addresses("app.internal", 0, &[OLD]);
        let proxy = Proxy::start_with(&config(&dns, "app.internal", backend.addr.port(), "")).await;
        for change in [Dns::fail as fn(&Dns, &str), Dns::forget, Dns::be_silent] {
            dns.addresses("app.internal", 0, &[OLD]);
            assert_eq!(Client::get(proxy.addr).await.text(), "here");
            change(&dns, "app.internal");
            let asked = dns.asked();
            while dns.asked() == asked {
                assert_eq!(Client::get(proxy.addr).await.text(), "here");
            }
            assert_eq!(Client::get(proxy.addr).await.text(), "here");
        }
    });
}

#[test]
fn an_answer_that_is_too_old_serves_nobody_and_the_next_one_does() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        dns.addresses("app.internal", 0, &[OLD]);
        let config = config(&dns, "app.internal", backend.addr.port(), "stale_max = \"0s\"");
        let config = config.replace("[[service]]", "[[service]]\nbreaker = { enabled = false }");
        let proxy = Proxy::start_with(&config).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        dns.fail("app.internal");
        let refused = loop {
            let answer = Client::get(proxy.addr).await;
            if answer.status != 200 {
                break answer;
            }
        };
        assert_eq!((refused.status, refused.error().as_str()), (502, "no_address"));
        dns.addresses("app.internal", 60, &[OLD]);
        while Client::get(proxy.addr).await.status != 200 {}
    });
}

#[test]
fn names_of_this_machine_need_no_name_server() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        let named = config(&dns, "localhost", backend.addr.port(), "");
        let unnamed = named.replace(&format!("servers = [\"{}\"]", dns.addr), "");
        for config in [named, unnamed] {
            let proxy = Proxy::start_with(&config).await;
            assert_eq!(Client::get(proxy.addr).await.text(), "here");
        }
        assert_eq!(dns.asked(), 0);
    });
}

#[test]
fn a_name_may_have_underscores_wherever_it_likes() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        let port = backend.addr.port();
        for name in ["my_app.internal", "_app.internal", "my_app"] {
            dns.addresses(name, 60, &[OLD]);
            let by_url = config(&dns, name, port, "");
            let backends = format!("backends = [{{ url = \"http://{name}:{port}\" }}]");
            dns.targets("_http._tcp.internal", 60, &[(1, 1, port, name)]);
            for found in [format!("dns = '{name}:{port}'"), "srv = '_http._tcp.internal'".into()] {
                let by_discovery = by_url.replace(&backends, &format!("discover = {{ {found} }}"));
                let proxy = Proxy::start_with(&by_discovery).await;
                assert_eq!(Client::get(proxy.addr).await.text(), "here", "{found} of {name}");
            }
            let proxy = Proxy::start_with(&by_url).await;
            assert_eq!(Client::get(proxy.addr).await.text(), "here", "{name}");
        }
    });
}

#[test]
fn a_name_server_that_fails_keeps_no_backend_away_once_it_answers() {
    run(async {
        let dns = Dns::start().await;
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        dns.fail("app.internal");
        let breaker = "[[service]]\nbreaker = { consecutive_failures = 1, open_for = \"5m\" }";
        let config = config(&dns, "app.internal", backend.addr.port(), "");
        let proxy = Proxy::start_with(&config.replace("[[service]]", breaker)).await;
        for _ in 0..3 {
            assert_eq!(Client::get(proxy.addr).await.error(), "no_address");
        }
        dns.addresses("app.internal", 60, &[OLD]);
        while Client::get(proxy.addr).await.status != 200 {}
    });
}
