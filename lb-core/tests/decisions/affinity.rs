//! Who sticks where, when the proxy remembers it.

use core::net::IpAddr;
use core::time::Duration;

use lb_core::config::{
    AffinityConfig, BackendConfig, CookieConfig, KeySource, Policy, ServiceConfig, StickBy,
    StickConfig, WhenAllUnfit,
};
use lb_core::{
    Ask, Body, BodyEnd, Exchange, ExchangeId, Facts, Failure, How, Outcome, Rejection, Repeat,
    Service, Step, Time, Unobserved,
};

use crate::support::{config, secs, service};

struct User(&'static str);

impl Facts for User {
    fn client(&self) -> Option<IpAddr> {
        None
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        (name == "x-session-id").then_some(self.0.as_bytes())
    }
    fn path(&self) -> &'static str {
        "/"
    }
    fn query(&self) -> Option<&str> {
        None
    }
}

fn sticky(backends: usize, strict: bool) -> ServiceConfig {
    let stick = StickConfig {
        key: vec![KeySource::Header("x-session-id".into())],
        ttl: Duration::from_secs(60),
    };
    let affinity = Some(AffinityConfig { by: StickBy::Key(stick), strict });
    let mut config =
        ServiceConfig { affinity, ..config(Policy::RoundRobin, &[&vec![1; backends]]) };
    config.retry.attempts_max = 2;
    config
}

fn begin<'s>(service: &'s Service, user: &'static str, now: Time) -> Step<'s> {
    let id = ExchangeId(now.as_micros());
    let ask = Ask { id, repeat: Repeat::Safe, facts: &User(user), bodiless: true };
    Exchange::start(service, &Unobserved, ask, now)
}

/// Where a user is served.
fn serve(service: &Service, user: &'static str, now: Time) -> u16 {
    let Step::Attempt(attempt) = begin(service, user, now) else { panic!("somebody is fit") };
    let place = attempt.backend().id().backend;
    let step = attempt.finish(Outcome::Answered(200), Body::Intact, now);
    let Step::Deliver(delivery) = step else { panic!("it was answered") };
    assert_eq!(delivery.set_cookie(service), None);
    delivery.end(BodyEnd::Complete, service, now, &Unobserved);
    place
}

#[test]
fn a_user_stays_where_it_was_served_until_it_is_forgotten() {
    let service = service(&sticky(5, false));
    let home = serve(&service, "ann", secs(0));
    for at in 1..50 {
        let others = serve(&service, "bob", secs(at));
        assert_eq!(serve(&service, "ann", secs(at) + Duration::from_millis(1)), home);
        assert_ne!(others, home, "the policy put the other one elsewhere, and there it stays");
    }
    // Round robin has gone on: after a minute without a word the next turn is hers.
    let moved = (0..5).any(|nth| serve(&service, "ann", secs(200 + 100 * nth)) != home);
    assert!(moved, "nobody is remembered for ever");
    // Without a key nobody sticks.
    let places: Vec<_> = (0..5).map(|nth| serve(&service, "", secs(1_000 + nth))).collect();
    assert!(places.windows(2).all(|two| two[0] != two[1]), "{places:?}");
}

#[test]
fn a_wish_yields_to_failure_and_to_nothing_less() {
    let service = service(&sticky(3, false));
    let home = serve(&service, "ann", secs(0));
    // It drains: whoever it has, it keeps.
    service.drain(home, true);
    assert_eq!(serve(&service, "ann", secs(1)), home);
    // It refuses: the retry goes elsewhere, and there she stays.
    let Step::Attempt(attempt) = begin(&service, "ann", secs(2)) else { panic!("it is asked") };
    assert_eq!(attempt.backend().id().backend, home);
    let refused = Outcome::Failed(Failure::ConnectRefused);
    let Step::Attempt(attempt) = attempt.finish(refused, Body::Intact, secs(2)) else {
        panic!("there are others")
    };
    let new_home = attempt.backend().id().backend;
    assert_ne!(new_home, home);
    let step = attempt.finish(Outcome::Answered(200), Body::Intact, secs(2));
    assert!(matches!(step, Step::Deliver(_)));
    assert_eq!(serve(&service, "ann", secs(3)), new_home);
}

#[test]
fn strict_turns_a_client_away_whose_backend_cannot_be_had() {
    let service = service(&sticky(3, true));
    let home = serve(&service, "ann", secs(0));
    let Step::Attempt(attempt) = begin(&service, "ann", secs(1)) else { panic!("it is asked") };
    drop(attempt.finish(Outcome::Answered(500), Body::Intact, secs(1)));
    assert!(matches!(begin(&service, "ann", secs(2)), Step::Reject(Rejection::NoFitBackend, _)));
    assert_ne!(serve(&service, "bob", secs(2)), home);
}

/// A page that says sorry is no home.
#[test]
fn nobody_sticks_to_a_fallback_pool() {
    let cookie = StickBy::Cookie(CookieConfig::default());
    let cookie = Some(AffinityConfig { by: cookie, strict: false });
    for by in [sticky(1, false).affinity, cookie] {
        let mut config = ServiceConfig {
            affinity: by,
            when_all_unfit: WhenAllUnfit::FallbackPool(1),
            ..config(Policy::RoundRobin, &[&[1], &[1]])
        };
        config.retry.attempts_max = 1;
        let service = service(&config);
        service.drain(0, true);
        let Step::Attempt(attempt) = begin(&service, "ann", secs(1)) else { panic!("a fallback") };
        assert_eq!(attempt.backend().id().backend, 1);
        let step = attempt.finish(Outcome::Answered(200), Body::Intact, secs(1));
        let Step::Deliver(delivery) = step else { panic!("it was answered") };
        assert_eq!(delivery.set_cookie(&service), None);
        delivery.end(BodyEnd::Complete, &service, secs(1), &Unobserved);
        service.drain(0, false);
        let Step::Attempt(attempt) = begin(&service, "ann", secs(2)) else { panic!("it is back") };
        assert_eq!(attempt.backend().id().backend, 0);
    }
}

#[test]
fn who_is_remembered_follows_its_backend_through_a_reload() {
    let mut config = sticky(5, false);
    let old = service(&config);
    let home = serve(&old, "ann", secs(0));
    let name = old.backend(home).name().to_owned();
    config.pools[0].backends.reverse();
    let new = old.succeed(&config, 3, 7, secs(1)).expect("it is meaningful");
    let Step::Attempt(attempt) = begin(&new, "ann", secs(2)) else { panic!("it is asked") };
    assert_eq!(attempt.backend().name(), name);
    assert_eq!(How::Session.as_str(), "session");
    // One look without it, and it is back: at another place, and among others who are new.
    let mut fewer = config.clone();
    fewer.pools[0].backends.retain(|backend| backend.name != name);
    let fewer = new.succeed(&fewer, 3, 7, secs(3)).expect("it is meaningful");
    config.pools[0].backends.insert(0, BackendConfig::new("http://new"));
    let back = fewer.succeed(&config, 3, 7, secs(4)).expect("it is meaningful");
    let Step::Attempt(attempt) = begin(&back, "ann", secs(5)) else { panic!("it is asked") };
    assert_eq!(attempt.backend().name(), name);
}
