//! Files change while connections are open.

use super::*;

async fn shown(server: &ServerTls) -> String {
    let client = Arc::new(anybody(rustls::ALL_VERSIONS));
    visit(server, &client, "a.example").await.unwrap().subject
}

#[tokio::test]
async fn new_connections_get_what_was_loaded_and_open_ones_never_notice() {
    let (disk, authority) = usual();
    let asked = listener(&["a"]);
    let (server, client) = (disk.server(&asked), disk.client(&service()));
    let (mut accepted, mut connected) = meet(&server, &client, "a.example").await;

    disk.write_pair("a", &authority.issue("renewed", &["a.example"]));
    assert_eq!(shown(&server).await, "CN=a", "nothing changes by itself");
    let server = disk.with(|files| sound(server.reloaded(&asked, files)));
    assert_eq!(shown(&server).await, "CN=renewed");
    say(&mut accepted.io, &mut connected.io).await;

    let (accepted, connected) = meet(&server, &client, "a.example").await;
    assert_eq!((accepted.resumed, connected.resumed), (false, false), "under the new rules");
}

#[tokio::test]
async fn files_that_are_the_same_change_nothing_and_sessions_go_on() {
    let (disk, _) = usual();
    let asked = listener(&["a"]);
    let (server, client) = (disk.server(&asked), disk.client(&service()));
    meet(&server, &client, "a.example").await;
    let server = disk.with(|files| sound(server.reloaded(&asked, files)));
    let client = disk.with(|files| sound(client.reloaded(&service(), Protocol::Auto, files)));
    let (accepted, _) = meet(&server, &client, "a.example").await;
    assert!(accepted.resumed);
}

#[tokio::test]
async fn another_configuration_counts_though_its_files_are_the_same() {
    let (disk, _) = usual();
    let server = disk.server(&listener(&["a"]));
    let strict = ListenerTls { min_version: TlsVersion::V1_3, ..listener(&["a"]) };
    let server = disk.with(|files| sound(server.reloaded(&strict, files)));
    let (near, far) = wire();
    let connector = TlsConnector::from(Arc::new(anybody(&[&rustls::version::TLS12])));
    let name = ServerName::try_from("a.example").unwrap();
    let (accepted, _) = tokio::join!(server.accept(near), connector.connect(name, far));
    assert_eq!(accepted.err().map(|error| error.why), Some(Why::Incompatible));
}

#[tokio::test]
async fn files_that_make_no_sense_together_replace_nothing() {
    let (disk, authority) = usual();
    let asked = listener(&["a"]);
    let server = disk.server(&asked);
    // Half of a renewal: the certificate is there and its key is not.
    let renewed = authority.issue("renewed", &["a.example"]);
    disk.write("a.pem", renewed.cert.as_str());
    assert!(disk.with(|files| server.reloaded(&asked, files)).is_err());
    disk.write("a.key", renewed.key.as_str());
    let server = disk.with(|files| sound(server.reloaded(&asked, files)));
    assert_eq!(shown(&server).await, "CN=renewed");

    disk.remove("a.pem");
    assert!(disk.with(|files| server.reloaded(&asked, files)).is_err());
    assert_eq!(shown(&server).await, "CN=renewed");
}

#[tokio::test]
async fn a_service_stops_believing_whom_its_new_files_do_not_vouch_for() {
    let (disk, _) = usual();
    let (server, client) = (disk.server(&listener(&["a"])), disk.client(&service()));
    let (mut accepted, mut connected) = meet(&server, &client, "a.example").await;

    disk.write("ca.pem", Authority::new("another").pem());
    let client = disk.with(|files| sound(client.reloaded(&service(), Protocol::Auto, files)));
    let (_, refused) = try_meet(&server, &client, "a.example").await;
    assert_eq!(refused.err().map(|error| error.why), Some(Why::NotTrusted), "and not resumed");
    say(&mut accepted.io, &mut connected.io).await;

    disk.write("ca.pem", "nothing");
    let error = disk.with(|files| client.reloaded(&service(), Protocol::Auto, files));
    assert!(error.is_err());
}

#[tokio::test]
async fn a_bad_pair_stays_as_it_was_and_keeps_no_other_from_being_renewed() {
    let (disk, authority) = usual();
    disk.write_pair("b", &authority.issue("b", &["b.example"]));
    let server = disk.server(&listener(&["a", "b"]));
    let client = Arc::new(anybody(rustls::ALL_VERSIONS));
    let pem = disk.read(Path::new("b.pem")).unwrap();
    disk.remove("b.pem");
    disk.write_pair("a", &authority.issue("renewed", &["a.example"]));
    let renewed = disk.with(|files| server.renewed(files));
    let told = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<String>();
    assert_eq!(told(renewed.problems), "b.pem does not exist; correct the path");
    let server = renewed.value;
    for (host, subject) in [("a.example", "CN=renewed"), ("b.example", "CN=b")] {
        assert_eq!(visit(&server, &client, host).await.unwrap().subject, subject);
    }

    let again = disk.with(|files| server.renewed(files));
    assert!(Arc::ptr_eq(&again.value, &server), "sessions go on while nothing is better");
    assert_eq!(
        told(again.problems),
        "b.pem does not exist; correct the path",
        "and it still is bad"
    );
    disk.write("b.pem", pem);
    let good = disk.with(|files| server.renewed(files));
    assert!(good.problems.is_empty() && Arc::ptr_eq(&good.value, &server), "as it was");
}

#[tokio::test]
async fn who_vouches_and_who_one_is_are_renewed_one_without_the_other() {
    let (disk, authority) = usual();
    let asked = ServiceTls { identity: Some(pair("a")), ..service() };
    let client = disk.client(&asked);
    let another = Authority::new("another");
    disk.write("ca.pem", another.pem());
    disk.write("a.key", authority.issue("other", &[]).key);
    let renewed = disk.with(|files| client.renewed(files));
    assert_eq!(renewed.problems.len(), 1);
    assert!(renewed.problems[0].to_string().starts_with("a.key is not the key of"));
    disk.write_pair("b", &another.issue("b", &["b.example"]));
    let server = disk.server(&listener(&["b"]));
    assert!(try_meet(&server, &client, "b.example").await.1.is_err());
    assert!(try_meet(&server, &renewed.value, "b.example").await.1.is_ok());
}
