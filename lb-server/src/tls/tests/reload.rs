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
    let server = disk.with(|files| sound(server.renewed(&asked, files)));
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
    let server = disk.with(|files| sound(server.renewed(&asked, files)));
    let client = disk.with(|files| sound(client.renewed(&service(), Protocol::Auto, files)));
    let (accepted, _) = meet(&server, &client, "a.example").await;
    assert!(accepted.resumed);
}

#[tokio::test]
async fn another_configuration_counts_though_its_files_are_the_same() {
    let (disk, _) = usual();
    let server = disk.server(&listener(&["a"]));
    let strict = ListenerTls { min_version: TlsVersion::V1_3, ..listener(&["a"]) };
    let server = disk.with(|files| sound(server.renewed(&strict, files)));
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
    assert!(disk.with(|files| server.renewed(&asked, files)).is_err());
    disk.write("a.key", renewed.key.as_str());
    let server = disk.with(|files| sound(server.renewed(&asked, files)));
    assert_eq!(shown(&server).await, "CN=renewed");

    disk.remove("a.pem");
    assert!(disk.with(|files| server.renewed(&asked, files)).is_err());
    assert_eq!(shown(&server).await, "CN=renewed");
}

#[tokio::test]
async fn a_service_stops_believing_whom_its_new_files_do_not_vouch_for() {
    let (disk, _) = usual();
    let (server, client) = (disk.server(&listener(&["a"])), disk.client(&service()));
    let (mut accepted, mut connected) = meet(&server, &client, "a.example").await;

    disk.write("ca.pem", Authority::new("another").pem());
    let client = disk.with(|files| sound(client.renewed(&service(), Protocol::Auto, files)));
    let (_, refused) = try_meet(&server, &client, "a.example").await;
    assert_eq!(refused.err().map(|error| error.why), Some(Why::NotTrusted), "and not resumed");
    say(&mut accepted.io, &mut connected.io).await;

    disk.write("ca.pem", "nothing");
    let error = disk.with(|files| client.renewed(&service(), Protocol::Auto, files));
    assert!(error.is_err());
}
