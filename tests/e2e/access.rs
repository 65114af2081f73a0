//! What the access log and the admin listener say.

use serde_json::{Value, json};

use crate::support::{Answer, Backend, Client, Proxy, Script, run};

async fn admin(proxy: &Proxy, path: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:9090\r\nconnection: close\r\n\r\n");
    Client::ask(proxy.admin, request).await
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
        assert_eq!(
            line,
            json!({
                "time": null, "request_id": null, "client": null,
                "method": "GET", "host": "a", "path": "/c", "service": "web",
                "status": 200, "end": "complete", "duration_ms": null,
                "bytes_in": 0, "bytes_out": 5,
                "attempts": [
                    { "backend": first.url(), "outcome": "answered", "status": 503, "ms": null, "why": why },
                    { "backend": second.url(), "outcome": "answered", "status": 200, "ms": null, "why": why },
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
        let nobody = format!("http://{}", Backend::nobody().await);
        let policies = "[service.breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\n\
                        open_for_max = \"1h\"";
        let proxy = Proxy::start(&[ill.url(), nobody.clone()], policies).await;
        for _ in 0..4 {
            Client::get(proxy.addr).await;
        }
        let learned: Value =
            serde_json::from_slice(&admin(&proxy, "/metrics.json").await.body).unwrap();
        let log = proxy.log();
        for url in [ill.url(), nobody] {
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
        let text = admin(&proxy, "/metrics").await;
        let exchanges = format!("lb_exchanges_total{{service=\"web\"}} {}\n", log.len());
        assert!(text.text().contains(&exchanges), "{}", text.text());
        assert!(text.text().ends_with("# EOF\n"));
    });
}

#[test]
fn the_admin_listener_answers_this_machine_only_and_only_reads() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let proxy = Proxy::start(&[backend.url()], "").await;
        assert_eq!(admin(&proxy, "/health").await.text(), "ok\n");
        assert_eq!(admin(&proxy, "/nowhere").await.status, 404);
        let elsewhere = "GET /metrics HTTP/1.1\r\nhost: evil.example\r\n\r\n";
        assert_eq!(Client::ask(proxy.admin, elsewhere).await.status, 403);
        let post = "POST /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
        let answer = Client::ask(proxy.admin, post).await;
        assert_eq!((answer.status, answer.one("allow")), (405, Some("GET, HEAD")));
        assert!(backend.requests().is_empty());
    });
}
