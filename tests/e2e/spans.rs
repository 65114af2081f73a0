//! What spans say of requests: which of them failed, and what was asked of whom.

use serde_json::Value;

use crate::support::{Backend, Client, Nobody, Proxy, Script, run, until};

/// A collector, and the table that has spans of all requests sent to it.
async fn collector() -> (Backend, String) {
    let collector = Backend::start(|_, _| Script::ok("{}")).await;
    let tracing =
        format!("[tracing]\nenabled = true\nsample = 1.0\nendpoint = \"{}\"\n", collector.url());
    (collector, tracing)
}

/// Has the process end, and returns the spans that arrived.
async fn spans(proxy: Proxy, collector: &Backend) -> Vec<Value> {
    proxy.trigger.drain();
    proxy.serving.await.unwrap();
    until(|| !collector.requests().is_empty()).await;
    let body: Value = serde_json::from_slice(&collector.request().body).unwrap();
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

/// An attribute, as text.
fn said<'s>(span: &'s Value, key: &str) -> Option<&'s str> {
    let attributes = span["attributes"].as_array().unwrap();
    let value = &attributes.iter().find(|it| it["key"] == key)?["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str())
}

fn ask(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

#[test]
fn what_a_route_answers_and_what_a_client_did_wrong_are_no_failures() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("")).await;
        let (collector, tracing) = collector().await;
        let proxy = Proxy::start_with(&format!(
            "{tracing}[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [[service]]\nname = \"web\"\nhosts = [\"a\"]\n\
             pool = [{{ backends = [{{ url = \"{}\" }}] }}]\n\
             [[route]]\nname = \"away\"\nhosts = [\"a\"]\npath = \"/away\"\n\
             redirect = {{ to = \"https://{{host}}/new\" }}\n\
             [[route]]\nname = \"fixed\"\nhosts = [\"a\"]\npath = \"/fixed\"\n\
             respond = {{ status = 200, body = \"hi\" }}\n\
             [[route]]\nname = \"stripped\"\nhosts = [\"a\"]\npath_prefix = \"/strip\"\n\
             service = \"web\"\nrequest = {{ strip_prefix = \"/strip\" }}\n",
            backend.url()
        ))
        .await;
        let asked = [("/away", "a"), ("/fixed", "a"), ("/", "elsewhere"), ("/strip/b?c", "a")];
        let mut statuses = Vec::new();
        for (path, host) in asked {
            statuses.push(Client::ask(proxy.addr, ask(path, host)).await.status.to_string());
        }
        assert_eq!(statuses[2..], ["404", "200"]);
        let spans = spans(proxy, &collector).await;
        for (span, status) in spans.iter().zip(&statuses) {
            assert_eq!(said(span, "http.response.status_code"), Some(status.as_str()));
            assert_eq!((&span["status"]["code"], said(span, "error.type")), (&0.into(), None));
        }
        let url = format!("{}/b", backend.url());
        assert_eq!(said(&spans[3], "url.path"), Some("/strip/b"));
        assert_eq!(
            said(&spans[4], "url.full"),
            Some(url.as_str()),
            "what was asked of the backend"
        );
    });
}

#[test]
fn the_slower_of_two_has_not_failed_and_nothing_was_sent_again() {
    run(async {
        let silent = Backend::start(|_, _| Script::WriteAndHang(Vec::new())).await;
        let quick = Backend::start(|_, _| Script::ok("quick")).await;
        let (collector, tracing) = collector().await;
        let hedge = format!("{tracing}[service.retry]\nhedge = {{ after = \"5ms\" }}");
        let proxy = Proxy::start(&[silent.url(), quick.url()], &hedge).await;
        assert_eq!(Client::ask(proxy.addr, ask("/", "a")).await.text(), "quick");
        let spans = spans(proxy, &collector).await;
        assert_eq!(spans.len(), 3);
        for span in &spans {
            assert_eq!((&span["status"]["code"], said(span, "error.type")), (&0.into(), None));
            assert_eq!(said(span, "http.request.resend_count"), None);
        }
    });
}

#[test]
fn a_backend_is_told_of_its_own_attempt_after_one_that_found_nobody() {
    run(async {
        let (nobody, backend) = (Nobody::new(), Backend::start(|_, _| Script::ok("")).await);
        let (collector, tracing) = collector().await;
        let proxy = Proxy::start(&[nobody.url(), backend.url()], &tracing).await;
        assert_eq!(Client::ask(proxy.addr, ask("/", "a")).await.status, 200);
        let spans = spans(proxy, &collector).await;
        assert_eq!(said(&spans[1], "error.type"), Some("connect_refused"));
        assert_eq!(said(&spans[2], "http.request.resend_count"), Some("1"));
        let told = backend.request();
        assert!(told.one("traceparent").unwrap().contains(spans[2]["spanId"].as_str().unwrap()));
    });
}
