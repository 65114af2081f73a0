//! Who asks too often is told so, and when to come again.

use crate::support::{Backend, Client, Proxy, Script, run};

#[test]
fn one_request_too_many_is_answered_429_and_reaches_no_backend() {
    run(async {
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let policies = "[service.rate_limit]\nenabled = true\nrequests = 1\nper = \"1h\"\n\
                        burst = 3\nkey = [\"header:x-api-key\", \"client-ip\"]";
        let proxy = Proxy::start(&[backend.url()], policies).await;
        let with_key = |key: &str| format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n");
        for _ in 0..3 {
            assert_eq!(Client::ask(proxy.addr, with_key("ann")).await.status, 200);
        }
        let limited = Client::ask(proxy.addr, with_key("ann")).await;
        assert_eq!((limited.status, limited.error().as_str()), (429, "rate_limited"));
        let wait: u64 = limited.one("retry-after").unwrap().parse().unwrap();
        assert!((3_590..=3_600).contains(&wait), "{wait}");
        assert!(limited.one("ratelimit").unwrap().starts_with("\"client\";r=0;t=3"));
        assert_eq!(Client::ask(proxy.addr, with_key("bob")).await.status, 200);
        assert_eq!(Client::get(proxy.addr).await.status, 200, "by its address");
        assert_eq!(backend.requests().len(), 5);
        assert_eq!(proxy.log()[3]["reason"], "rate_limited");
    });
}
