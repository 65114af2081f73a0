//! Where clients are decides who answers them, as far as a header says.

use crate::support::{Backend, Client, Proxy, Script, run};

async fn named(name: &'static str) -> Backend {
    Backend::start(move |_, _| Script::ok(name)).await
}

fn from(line: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n")
}

/// A service whose tables and pools are `tables`.
async fn steered(tables: &str) -> Proxy {
    Proxy::start_with(&format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n{tables}"
    ))
    .await
}

#[test]
fn a_country_leads_to_its_pool_and_failure_to_the_next() {
    run(async {
        let (us, eu) = (named("us").await, named("eu").await);
        let nobody = crate::support::Nobody::new();
        let proxy = steered(&format!(
            "[service.steering]\npolicy = \"geo\"\ncountry_header = \"CF-IPCountry\"\n\
             [[service.pool]]\nname = \"us\"\nregions = [\"us-west\"]\nbackends = [{{ url = \"{}\" }}]\n\
             [[service.pool]]\nname = \"eu\"\nregions = [\"europe-west\"]\nbackends = [{{ url = \"{}\" }}]\n\
             [[service.pool]]\nname = \"jp\"\ncountries = [\"JP\"]\nbackends = [{{ url = \"{}\" }}]",
            us.url(),
            eu.url(),
            nobody.url(),
        ))
        .await;
        for (country, expected) in [("US", "us"), ("de", "eu"), ("JP", "us"), ("??", "us")] {
            let answer = Client::ask(proxy.addr, from(&format!("cf-ipcountry: {country}"))).await;
            assert_eq!(answer.text(), expected, "{country}");
        }
        let log = proxy.log();
        assert_eq!(log[1]["attempts"][0]["why"]["steered"], "area");
        let jp = &log[2]["attempts"];
        assert_eq!(
            (&jp[0]["outcome"], &jp[1]["why"]["pool"]),
            (&"connect_refused".into(), &"us".into())
        );
    });
}

#[test]
fn backends_of_the_clients_region_are_asked_first() {
    run(async {
        let (us, eu) = (named("us").await, named("eu").await);
        let proxy = steered(&format!(
            "[service.steering]\nregion_header = \"x-region\"\n\
             [[service.pool]]\nbackends = [\n{{ url = \"{}\", region = \"us-west\" }},\n\
             {{ url = \"{}\", region = \"eu-central\" }},\n]",
            us.url(),
            eu.url(),
        ))
        .await;
        for (region, expected) in [("eu-central-1", "eu"), ("us-east", "us"), ("EU", "eu")] {
            for _ in 0..5 {
                let answer = Client::ask(proxy.addr, from(&format!("x-region: {region}"))).await;
                assert_eq!(answer.text(), expected, "{region}");
            }
        }
    });
}

#[test]
fn the_nearest_pool_answers() {
    run(async {
        let (sf, frankfurt) = (named("sf").await, named("frankfurt").await);
        let proxy = steered(&format!(
            "[service.steering]\npolicy = \"proximity\"\n\
             latitude_header = \"x-lat\"\nlongitude_header = \"x-lon\"\n\
             [[service.pool]]\nname = \"sf\"\nlatitude = 37.77\nlongitude = -122.42\n\
             backends = [{{ url = \"{}\" }}]\n\
             [[service.pool]]\nname = \"frankfurt\"\nlatitude = 50.11\nlongitude = 8.68\n\
             backends = [{{ url = \"{}\" }}]",
            sf.url(),
            frankfurt.url(),
        ))
        .await;
        for (at, expected) in [("48.9 2.4", "frankfurt"), ("35.7 139.7", "sf"), ("91 0", "sf")] {
            let (lat, lon) = at.split_once(' ').unwrap();
            let answer =
                Client::ask(proxy.addr, from(&format!("x-lat: {lat}\r\nx-lon: {lon}"))).await;
            assert_eq!(answer.text(), expected, "{at}");
        }
    });
}
