//! What the access log and the admin listener say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Answer, Backend, Client, Nobody, Proxy, Script, run, until};

async fn admin(proxy: &Proxy, path: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:9090\r\nconnection: close\r\n\r\n");
    Client::ask(proxy.admin, request).await
}

/// What Prometheus gets.
async fn metrics(proxy: &Proxy) -> Answer {
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3";
    let ask = format!(
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    );
    Client::ask(proxy.admin, ask).await
}

#[test]
fn metrics_are_in_the_format_that_their_reader_accepts() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let open = metrics(&proxy).await;
        let kind = open.one("content-type").unwrap();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        assert!(open.text().ends_with("# EOF\n"));
        let plain = admin(&proxy, "/metrics").await;
        assert_eq!(plain.one("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert!(!plain.text().contains("# EOF") && !plain.text().contains("# UNIT"));
        assert!(plain.text().contains("# TYPE lb_exchanges_total counter\n"));
    });
}

#[test]
fn a_line_tells_what_every_attempt_came_to_and_why_it_was_made() {
    run(async {
        let first = Backend::start(|_, _| Script::status(503, "busy")).await;
        let second = Backend::start(|_, _| Script::ok("hello")).await;
        let proxy = Proxy::start(&[first.url(), second.url()], "").await;
        let request =
            "POST /a?token=secret HTTP/1.1\r\nhost: example.com\r\ncontent-length: 3\r\n\r\nabc";
        Client::ask(proxy.addr, request).await;
        Client::ask(proxy.addr, "PUT /b HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
        Client::ask(proxy.addr, "GET /c HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut line = proxy.log()[2].clone();
        for volatile in ["time", "request_id", "client", "duration_ms"] {
            assert!(!line[volatile].is_null(), "{volatile}");
            line[volatile] = Value::Null;
        }
        for attempt in line["attempts"].as_array_mut().unwrap() {
            assert!(attempt["ms"].as_f64().is_some());
            attempt["ms"] = Value::Null;
        }
        let why = json!({ "pool": "default", "how": "turn", "role": "normal" });
        let why_retried = json!({ "pool": "default", "how": "weight", "role": "normal" });
        assert_eq!(
            line,
            json!({
                "time": null, "request_id": null, "client": null,
                "method": "GET", "host": "a", "path": "/c", "service": "web",
                "status": 200, "end": "complete", "duration_ms": null,
                "bytes_in": 0, "bytes_out": 5,
                "attempts": [
                    { "backend": first.url(), "outcome": "answered", "status": 503, "ms": null, "why": why },
                    { "backend": second.url(), "outcome": "answered", "status": 200, "ms": null, "why": why_retried },
                ],
            })
        );
        assert!(!proxy.log()[0].to_string().contains("secret"));
        assert_eq!(proxy.log()[0]["bytes_in"], 3);
    });
}

#[test]
fn metrics_and_log_agree() {
    run(async {
        let ill = Backend::start(|_, _| Script::status(500, "ill")).await;
        let nobody = Nobody::new();
        let policies = "[service.breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\n\
                        open_for_max = \"1h\"";
        let proxy = Proxy::start(&[ill.url(), nobody.url()], policies).await;
        for _ in 0..4 {
            Client::get(proxy.addr).await;
        }
        let learned: Value =
            serde_json::from_slice(&admin(&proxy, "/metrics.json").await.body).unwrap();
        let log = proxy.log();
        for url in [ill.url(), nobody.url()] {
            let attempts = log.iter().flat_map(|line| line["attempts"].as_array().unwrap());
            let made = attempts.filter(|attempt| attempt["backend"] == url.as_str()).count();
            let said = &learned["web"][url.as_str()];
            assert_eq!(said["requests"], made, "{url}: {said}");
            assert_eq!(said["errors"], made, "{url}: {said}");
            assert_eq!(said["errorRate"], 1.0);
            assert_eq!(said["breaker"], "open");
            assert_eq!(said["isHealthy"], false);
            assert_eq!(said["consecutiveFailures"], 2);
            assert_eq!(said["inFlight"], 0);
        }
        let text = metrics(&proxy).await;
        let exchanges = format!("lb_exchanges_total{{service=\"web\"}} {}\n", log.len());
        assert!(text.text().contains(&exchanges), "{}", text.text());
        assert!(text.text().ends_with("# EOF\n"));
    });
}

#[test]
fn each_backend_is_told_of_in_eight_figures() {
    run(async {
        let backend = Backend::start(|before, _| match before {
            0..3 => Script::ok("well"),
            3 => Script::status(500, "ill"),
            _ => Script::WriteAndHang(Vec::new()),
        })
        .await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for _ in 0..4 {
            Client::get(proxy.addr).await;
        }
        let mut waiting = Client::connect(proxy.addr).await;
        waiting.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        until(|| backend.requests().len() == 5).await;
        let answer = admin(&proxy, "/metrics.json").await;
        assert_eq!(answer.one("content-type"), Some("application/json"));
        let mut learned: Value = serde_json::from_slice(&answer.body).unwrap();
        let figures = &mut learned["web"][backend.url().as_str()];
        assert!(figures["avgResponseTime"].as_f64().is_some_and(|ms| ms > 0.0), "{figures}");
        figures["avgResponseTime"] = Value::Null;
        let recent = figures["recentMs"].take();
        assert!(recent["p50"].as_f64() <= recent["max"].as_f64() && recent["p50"] != Value::Null);
        assert_eq!(
            learned,
            json!({ "web": { backend.url(): {
                "requests": 4, "errors": 1, "errorRate": 0.25, "avgResponseTime": null, "recentMs": null,
                "isHealthy": true, "consecutiveFailures": 1, "breaker": "closed", "inFlight": 1,
            } } })
        );
    });
}

/// The samples of an exposition, after a look at its lines: `name{label="value",…} number`.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("an end");
    let mut typed = BTreeSet::new();
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(said) = line.strip_prefix("# ") {
            let mut words = said.split(' ');
            match (words.next(), words.next()) {
                (Some("TYPE"), Some(name)) => assert!(typed.insert(name), "twice: {line}"),
                (Some("HELP"), Some(_)) => {}
                _ => panic!("neither type nor help: {line}"),
            }
            continue;
        }
        let (series, number) = line.rsplit_once(' ').expect("a series and a number");
        let name = series.split('{').next().unwrap();
        assert!(typed.iter().any(|it| name.starts_with(it)), "no type: {line}");
        let number = number.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(samples.insert(series.to_owned(), number).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn every_count_agrees_with_the_log() {
    run(async {
        let busy = Backend::start(|_, _| Script::status(503, "busy")).await;
        let well = Backend::start(|_, _| Script::ok("well")).await;
        let proxy = Proxy::start(&[busy.url(), well.url()], "").await;
        for _ in 0..5 {
            Client::get(proxy.addr).await;
            Client::post(proxy.addr, b"abc").await;
        }
        Client::ask(proxy.addr, "GET / HTTP/1.1\r\n\r\n").await;
        let said = samples(metrics(&proxy).await.text());
        let log = proxy.log();
        assert_eq!(log.len(), 11);
        let attempts = || log.iter().flat_map(|line| line["attempts"].as_array().unwrap());
        let count = |is: &dyn Fn(&Value) -> bool| log.iter().filter(|line| is(line)).count() as f64;
        assert_eq!(
            said["lb_exchanges_total{service=\"web\"}"],
            count(&|it| it["service"] == "web")
        );
        assert_eq!(said["lb_requests_refused_total"], count(&|it| it["reason"] == "bad_host"));
        let retries = count(&|it| it["attempts"].as_array().unwrap().len() == 2);
        assert!(retries > 0.0);
        assert_eq!(said["lb_retries_total{service=\"web\"}"], retries);
        let withheld = "lb_retries_withheld_total{service=\"web\",reason=\"not_idempotent\"}";
        assert_eq!(said[withheld], count(&|it| it["retry_withheld"] == "not_idempotent"));
        for class in [2, 5] {
            let delivered = format!("lb_delivered_total{{service=\"web\",status=\"{class}xx\"}}");
            let of_class = |it: &Value| it["status"].as_u64().unwrap() / 100 == class;
            assert_eq!(said[&delivered], count(&of_class), "{delivered}");
            let times =
                format!("lb_exchange_seconds_count{{service=\"web\",outcome=\"{class}xx\"}}");
            let closed = said.get(&times).copied().unwrap_or(0.0);
            assert_eq!(closed, count(&of_class), "{times}");
        }
        for url in [busy.url(), well.url()] {
            let labels = format!("service=\"web\",backend=\"{url}\"");
            let made: Vec<u64> = attempts()
                .filter(|it| it["backend"] == url.as_str())
                .map(|it| it["status"].as_u64().unwrap() / 100)
                .collect();
            for class in 1..=5 {
                let series = format!("lb_backend_attempts_total{{{labels},outcome=\"{class}xx\"}}");
                let of_class = made.iter().filter(|it| **it == class).count();
                assert_eq!(said[&series], of_class as f64, "{series}");
                // What never came about has neither a histogram nor quantiles.
                let times = format!("lb_attempt_seconds_count{{{labels},outcome=\"{class}xx\"}}");
                let of_class = (of_class > 0).then_some(of_class as f64);
                assert_eq!(said.get(&times).copied(), of_class, "{times}");
                let longest = format!(
                    "lb_attempt_recent_seconds{{{labels},outcome=\"{class}xx\",quantile=\"1\"}}"
                );
                let said = said.get(&longest).copied();
                assert_eq!(said.map(|secs| secs > 0.0), of_class.map(|_| true), "{longest}");
            }
            assert_eq!(said[&format!("lb_backend_in_flight{{{labels}}}")], 0.0);
        }
    });
}

#[test]
fn being_ready_says_of_whom() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        let answer = admin(&proxy, "/ready").await;
        let said: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = json!({
            "ready": true, "draining": false, "services": { "web": { "backends": 1, "fit": 1 } },
            "reload": { "count": 0, "refused": null },
        });
        assert_eq!((answer.status, said), (200, expected));
    });
}

#[test]
fn a_name_that_leads_here_from_elsewhere_reads_nothing() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        for path in ["/", "/health", "/ready", "/metrics", "/metrics.json", "/nowhere"] {
            for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9090"] {
                let request =
                    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
                let answer = Client::ask(proxy.admin, request).await;
                assert_eq!(answer.status, 403, "{host}{path}");
                assert!(!answer.text().contains(&backend.url()), "{host}{path}");
            }
            let absolute = format!(
                "GET http://evil.example{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            );
            assert_eq!(Client::ask(proxy.admin, absolute).await.status, 403, "{path}");
        }
    });
}

#[test]
fn the_admin_listener_is_as_strict_as_the_others() {
    run(async {
        let proxy = Proxy::start(&[Backend::start(|_, _| Script::ok("")).await.url()], "").await;
        let request = "GET /health HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n";
        let mut client = Client::connect(proxy.admin).await;
        client.write(request).await;
        assert_eq!(client.answer().await.unwrap().status, 400);
        assert!(client.is_closed().await);
        assert!(proxy.log().is_empty(), "it is no exchange");
    });
}

#[test]
fn the_admin_listener_only_reads() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        assert_eq!(admin(&proxy, "/health").await.text(), "ok\n");
        assert_eq!(admin(&proxy, "/nowhere").await.status, 404);
        let mut head = Client::connect(proxy.admin).await;
        head.write("HEAD /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let answer = head.answer_to_head().await.unwrap();
        assert_eq!((answer.status, answer.one("content-length")), (200, Some("3")));
        let post = "POST /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
        let answer = Client::ask(proxy.admin, post).await;
        assert_eq!((answer.status, answer.one("allow")), (405, Some("GET, HEAD")));
        assert!(backend.requests().is_empty());
    });
}

#[test]
fn at_debug_a_line_says_what_each_choice_was_made_from() {
    run(async {
        let nobody = Nobody::new();
        let backend = Backend::start(|_, _| Script::ok("here")).await;
        let policies = "[access_log]\nlevel = \"debug\"";
        let proxy = Proxy::start(&[nobody.url(), backend.url()], policies).await;
        assert_eq!(Client::get(proxy.addr).await.text(), "here");
        let line = &proxy.log()[0];
        let choices = line["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 2);
        let first = &choices[0];
        assert_eq!(
            (&first["attempt"], first["candidates"].as_array().unwrap().len()),
            (&1.into(), 2)
        );
        assert!(first["candidates"][0].get("left_out").is_none());
        assert_eq!(first["retries_left"], 50.0);
        let second = &choices[1]["candidates"];
        assert_eq!(
            (&second[0]["left_out"], &second[0]["backend"]),
            (&"tried".into(), &nobody.url().into())
        );
        assert_eq!((&second[1]["breaker"], &second[1]["in_flight"]), (&"closed".into(), &0.into()));

        let quiet = Proxy::start(&[backend.url()], "").await;
        Client::get(quiet.addr).await;
        assert!(quiet.log()[0].get("choices").is_none());
    });
}
