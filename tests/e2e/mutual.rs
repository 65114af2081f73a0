//! Clients that show who they are (mTLS), and who is told.

use std::fs;

use tokio::io::AsyncReadExt;

use crate::support::{Backend, Proxy, Script, run};
use crate::tls::{Authority, ask, config};

#[test]
fn a_client_shows_who_it_is_and_backends_are_told() {
    run(async {
        let authority = Authority::new("mutual");
        authority.issue("a", "a", "a.example");
        authority.issue("alice", "Alice \"Al\"", "alice");
        let backend = Backend::start(|_, _| Script::ok("hello")).await;
        let auth = format!(
            "client_auth = {{ mode = \"required\", ca = \"{}\" }}",
            authority.path("ca.pem")
        );
        let proxy = Proxy::start_with(&config(&authority, &auth, "", &backend.url())).await;

        let mut stream = authority.connect(&proxy, &[], Some("alice")).await.unwrap();
        let claim = "x-forwarded-client-cert: Subject=\"CN=root\"\r\n";
        assert!(ask(&mut stream, claim).await.ends_with("hello"));
        let seen = backend.request();
        let told = seen.one("x-forwarded-client-cert").unwrap();
        assert_eq!(told, r#"Subject="CN=Alice \\\"Al\\\"""#);

        // In TLS 1.3 a refusal comes with the first byte that is read.
        let refused = match authority.connect(&proxy, &[], None).await {
            Err(error) => error,
            Ok(mut stream) => stream.read_u8().await.unwrap_err(),
        };
        assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
        assert_eq!(backend.requests().len(), 1);
    });
}

#[test]
fn a_route_goes_by_who_a_client_has_proved_to_be() {
    run(async {
        let authority = Authority::new("proved");
        authority.issue("a", "a", "a.example");
        authority.issue("alice", "alice", "alice");
        let (web, inner) = (Backend::start(|_, _| Script::ok("web")).await, {
            Backend::start(|_, _| Script::ok("inner")).await
        });
        let auth = format!(
            "client_auth = {{ mode = \"optional\", ca = \"{}\" }}",
            authority.path("ca.pem")
        );
        let inner = format!(
            "[[route]]\nname = \"inner\"\nhosts = [\"*\"]\npath_prefix = \"/\"\nservice = \"inner\"\n\
             headers = {{ x-forwarded-client-cert = {{ contains = \"CN=alice\" }} }}\n\
             [[service]]\nname = \"inner\"\npool = [{{ backends = [{{ url = \"{}\" }}] }}]\n",
            inner.url()
        );
        let text = config(&authority, &auth, "", &web.url()) + &inner;
        let proxy = Proxy::start_with(&text).await;
        let claim = "x-forwarded-client-cert: Subject=\"CN=alice\"\r\n";
        for (shown, fields, answer) in [
            (Some("alice"), "", "inner"),
            (Some("alice"), "x-forwarded-client-cert: Subject=\"CN=bob\"\r\n", "inner"),
            (None, claim, "web"),
            (None, "x_forwarded_client_cert: Subject=\"CN=alice\"\r\n", "web"),
        ] {
            let mut stream = authority.connect(&proxy, &[], shown).await.unwrap();
            let said = ask(&mut stream, fields).await;
            assert!(said.ends_with(answer), "{shown:?} {fields}: {said}");
        }
    });
}

#[test]
fn an_operator_is_told_why_a_client_is_refused_and_not_each_time() {
    run(async {
        let authority = Authority::new("turned-away");
        authority.issue("a", "a", "a.example");
        let strangers = Authority::new("strangers");
        strangers.issue("stranger", "stranger", "stranger");
        for end in ["pem", "key"] {
            let name = format!("stranger.{end}");
            fs::copy(strangers.path(&name), authority.path(&name)).unwrap();
        }
        let auth = format!(
            "client_auth = {{ mode = \"required\", ca = \"{}\" }}",
            authority.path("ca.pem")
        );
        let proxy = Proxy::start_with(&config(&authority, &auth, "", "http://127.0.0.1:1")).await;
        for identity in [None, Some("stranger"), None, Some("stranger")] {
            if let Ok(mut stream) = authority.connect(&proxy, &[], identity).await {
                stream.read_u8().await.unwrap_err();
            }
        }
        let notices = proxy.notices();
        let [nobody, stranger] = notices.as_slice() else { panic!("{notices:?}") };
        let is_about = |notice: &str, why| {
            notice.starts_with("client 127.0.0.1:") && notice.contains(&format!("failed ({why})"))
        };
        assert!(is_about(nobody, "no_certificate") && nobody.contains("optional"), "{nobody}");
        assert!(
            is_about(stranger, "not_trusted") && stranger.contains("client_auth"),
            "{stranger}"
        );
    });
}
