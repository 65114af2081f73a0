//! What becomes of heads, field by field.

use super::*;
use crate::request_id::RequestId;
use expect_test::{Expect, expect};
use http::Request;

fn check(request: Request<()>, expected: &Expect) {
    let (mut head, ()) = request.into_parts();
    let host = host(&head);
    let id = RequestId::parse("00000000000000070000000000000001").unwrap();
    let client = HeaderValue::from_static("192.0.2.1");
    let forward = Forward { client: Some(&client), id: &id.header(), secure: None, trusted: None };
    to_backend(&mut head, &host, &forward);
    let mut text = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    expected.assert_eq(&text);
}

#[test]
fn fields_for_one_connection_stay_behind() {
    check(
        Request::get("/a?b=c")
            .header("host", "example.com")
            .header("connection", "close, x-secret, host")
            .header("connection", "X-Other")
            .header("connection", HeaderValue::from_bytes(b"\xff, x-hop, close").unwrap())
            .header("x-hop", "3")
            .header("x-secret", "1")
            .header("x-other", "2")
            .header("te", "trailers")
            .header("upgrade", "websocket")
            .header("keep-alive", "timeout=5")
            .header("accept", "*/*")
            .body(())
            .unwrap(),
        &expect![[r#"
            GET /a?b=c
            host: example.com
            accept: */*
            te: trailers
            x-forwarded-host: example.com
            x-real-ip: 192.0.2.1
            x-forwarded-for: 192.0.2.1
            x-forwarded-proto: http
            x-request-id: 00000000000000070000000000000001
            via: 1.1 lb
        "#]],
    );
}

#[test]
fn what_a_client_claims_about_its_way_is_not_believed() {
    check(
        Request::get("/")
            .header("host", "example.com")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-port", "443")
            .header("x-forwarded-client-cert", "subject=root")
            .header("x-real-ip", "10.0.0.1")
            .header("forwarded", "for=10.0.0.1")
            .header("x-request-id", "mine")
            .header("via", "1.0 other")
            .body(())
            .unwrap(),
        &expect![[r#"
            GET /
            host: example.com
            via: 1.0 other
            via: 1.1 lb
            x-request-id: 00000000000000070000000000000001
            x-forwarded-host: example.com
            x-real-ip: 192.0.2.1
            x-forwarded-for: 192.0.2.1
            x-forwarded-proto: http
        "#]],
    );
}

#[test]
fn the_targets_authority_beats_the_host_field() {
    check(
        Request::get("http://right.example:81/x").header("host", "wrong").body(()).unwrap(),
        &expect![[r#"
            GET /x
            host: right.example:81
            x-forwarded-host: right.example:81
            x-real-ip: 192.0.2.1
            x-forwarded-for: 192.0.2.1
            x-forwarded-proto: http
            x-request-id: 00000000000000070000000000000001
            via: 1.1 lb
        "#]],
    );
}

#[test]
fn a_path_that_is_empty_is_the_root_whatever_is_asked_of_it() {
    let told = |uri: &str| {
        let (mut head, ()) = Request::get(uri).body(()).unwrap().into_parts();
        let (host, id) = (host(&head), HeaderValue::from_static("1"));
        let forward = Forward { client: None, id: &id, secure: None, trusted: None };
        to_backend(&mut head, &host, &forward);
        let mut request = Request::from_parts(head, ());
        for_http2(&mut request, Scheme::HTTP).unwrap();
        (request.uri().path_and_query().unwrap().as_str().to_owned(), target_bytes(request.uri()))
    };
    for (uri, path) in [
        ("http://b?q", "/?q"),
        ("http://b?", "/?"),
        ("http://b", "/"),
        ("http://b/", "/"),
        ("http://b/?q", "/?q"),
        ("http://b/a?q", "/a?q"),
    ] {
        assert_eq!(told(uri), (path.to_owned(), path.len()), "{uri}");
        assert_eq!(target_bytes(&uri.parse().unwrap()), path.len(), "{uri}");
    }
    // Where an `http::Uri` has no room for a slash it is longer than any that passes.
    let most = 0xfffe;
    let long = Uri::builder().path_and_query(format!("?{}", "q".repeat(most - 1))).build();
    assert!(target_bytes(&long.unwrap()) > most);
}

#[test]
fn an_answer_is_in_the_coding_that_was_asked_for() {
    let coded = |codings: &[&'static str]| {
        let codings = codings.iter().map(|coding| HeaderValue::from_static(coding));
        is_answer(&codings.map(|coding| (header::TRANSFER_ENCODING, coding)).collect(), 100)
    };
    assert!(coded(&[]) && coded(&["chunked"]) && coded(&["Chunked"]));
    let lengths = |said: &[&'static str]| {
        let said = said.iter().map(|said| HeaderValue::from_static(said));
        is_answer(&said.map(|said| (header::CONTENT_LENGTH, said)).collect(), 100)
    };
    assert!(lengths(&["2"]) && lengths(&["2, 2"]) && lengths(&["2", "2"]));
    for said in
        [&["2, 3"][..], &["2", "3"], &["+2"], &["2,"], &["x"], &[""], &["99999999999999999999"]]
    {
        assert!(!lengths(said), "{said:?}");
    }
    for codings in [&["gzip, chunked"][..], &["gzip"], &["gzip", "chunked"]] {
        assert!(!coded(codings), "{codings:?}");
    }
    let field = |length| [(header::ETAG, HeaderValue::from_bytes(&vec![b'a'; length]).unwrap())];
    let long = |length| is_answer(&field(length).into_iter().collect(), 100);
    assert!(long(92) && !long(93), "name, colon, space and line end count");
}

#[test]
fn a_length_beside_chunks_is_not_passed_on() {
    let now = UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
    let id = RequestId::parse("00000000000000070000000000000001").unwrap();
    let response = http::Response::builder()
        .header("content-length", "2")
        .header("transfer-encoding", "chunked");
    let (mut head, ()) = response.body(()).unwrap().into_parts();
    to_client(&mut head, || now, id.header());
    let names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["via", "date", "x-request-id"]);
}

#[test]
fn a_host_over_http2_is_a_host_and_heads_have_as_many_lines_as_over_http1() {
    let refusal = |uri: &str, fields: usize| {
        let mut request = Request::get(uri).version(Version::HTTP_2);
        for n in 0..fields {
            request = request.header(format!("x-{n}"), "1");
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        refusal_of_http2(&head, 10)
    };
    assert_eq!(refusal("http://a.example:81/x", 10), None);
    for wrong in
        ["http://u@a.example/", "http://a.example:80@b.example/", "http://a.example:99999/"]
    {
        assert_eq!(refusal(wrong, 0), Some(Refusal::Host), "{wrong}");
    }
    assert_eq!(refusal("http://a.example/", 11), Some(Refusal::TooLong));
    let escaped =
        Request::get("/").version(Version::HTTP_2).header("host", "a%2eb").body(()).unwrap();
    assert_eq!(refusal_of_http2(&escaped.into_parts().0, 10), Some(Refusal::Host));
}

#[test]
fn a_host_over_http2_is_said_once() {
    for (uri, hosts, refusal) in [
        ("http://a/", &["a", "b"][..], Some(Refusal::Host)),
        ("/", &["a", "b"], Some(Refusal::Host)),
        ("/", &["a", "a"], Some(Refusal::Host)),
        ("/", &["a"], None),
    ] {
        let request = Request::get(uri).version(Version::HTTP_2);
        let request = hosts.iter().fold(request, |request, host| request.header("host", *host));
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(refusal_of_http2(&head, 10), refusal, "{uri} {hosts:?}");
    }
}

#[test]
fn nothing_is_asked_over_http2_in_place_of_what_cannot_be_said() {
    let said = |host: &str| {
        let mut request = Request::get("/x?y").header("host", host).body(()).unwrap();
        for_http2(&mut request, Scheme::HTTP).map(|()| request.uri().to_string())
    };
    assert_eq!(said("a:1").unwrap(), "http://a:1/x?y");
    assert!(said("a%2eb").is_err());
}

#[test]
fn an_address_is_written_as_the_standard_library_writes_it() {
    for said in ["0.0.0.0", "9.10.99.100", "255.255.255.255", "2001:db8::1", "::"] {
        let ip: IpAddr = said.parse().unwrap();
        assert_eq!(address(ip), said);
    }
}
