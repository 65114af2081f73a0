//! What one snapshot has of the one before.

use std::time::Duration;

use lb_config::Source;

use super::*;
use crate::gateway::{Gateway, Listeners};
use crate::platform::os::Os;
use crate::view::View;

/// Two services, `b` with these backends.
fn config(backends: &str) -> Config {
    let text = format!(
        r#"
[[listener]]
bind = "127.0.0.1:0"
[[service]]
name = "a"
hosts = ["a.example"]
balance = {{ policy = "maglev" }}
[[service.pool]]
backends = [{{ url = "http://10.0.0.1:3000" }}]
[[service]]
name = "b"
hosts = ["b.example"]
keep_alive = {{ connections_max = 3 }}
[[service.pool]]
backends = [{backends}]
"#
    );
    let (config, said) = lb_config::load(&Source { name: "lb.toml", text: &text });
    config.unwrap_or_else(|| panic!("{said:#?}"))
}

const ONE: &str = r#"{ url = "http://10.0.0.2:3000" }"#;
const TWO: &str = r#"{ url = "http://10.0.0.3:3000" }, { url = "http://10.0.0.2:3000" }"#;

fn gateway(backends: &str) -> Arc<Gateway> {
    let os = Arc::new(Os::with_seed(7));
    Gateway::new(os, config(backends), Listeners::default()).expect("sound")
}

/// The next snapshot of another configuration.
fn next(gateway: &Gateway, before: &Arc<Snapshot>, backends: &str) -> Arc<Snapshot> {
    gateway.reload(config(backends)).expect("sound");
    let after = gateway.snapshot();
    assert!(!Arc::ptr_eq(before, &after));
    after
}

#[tokio::test(flavor = "current_thread")]
async fn a_service_that_is_asked_for_as_before_is_the_same_one() {
    let gateway = gateway(ONE);
    let (before, first) = (gateway.snapshot(), View::first(Arc::clone(&gateway)));
    let after = next(&gateway, &before, TWO);
    assert!(Arc::ptr_eq(&before.sites[0], &after.sites[0]));
    assert!(Arc::ptr_eq(&before.config.services[0], &after.config.services[0]));
    assert!(Arc::ptr_eq(&before.router, &after.router));
    assert!(!Arc::ptr_eq(&before.sites[1], &after.sites[1]));
    let view = first.next(Arc::clone(&after));
    let stack = |view: &View, service, backend| {
        std::rc::Rc::as_ptr(view.stack(lb_core::BackendId { service, backend }))
    };
    assert_eq!(stack(&first, 0, 0), stack(&view, 0, 0));
    assert_eq!(stack(&first, 1, 0), stack(&view, 1, 1), "its connections go where it goes");
}

#[tokio::test(flavor = "current_thread")]
async fn a_service_of_which_the_proxy_alone_is_told_otherwise_decides_as_before() {
    let gateway = gateway(ONE);
    let before = gateway.snapshot();
    let mut config = config(ONE);
    Arc::make_mut(&mut config.services[1]).keep_alive.idle_timeout = Duration::from_secs(1);
    gateway.reload(config).expect("sound");
    let after = gateway.snapshot();
    assert!(!Arc::ptr_eq(&before.sites[1], &after.sites[1]));
    assert!(Arc::ptr_eq(&before.sites[1].service, &after.sites[1].service));
}

#[tokio::test(flavor = "current_thread")]
async fn who_is_missing_from_one_list_has_no_more_room_when_it_is_back() {
    let gateway = gateway(TWO);
    let before = gateway.snapshot();
    let held: Vec<_> = (0..3).map(|_| before.sites[1].slots[0].take().expect("room")).collect();
    let without = next(&gateway, &before, ONE);
    let back = next(&gateway, &without, TWO);
    assert!(back.sites[1].slots[0].take().is_none(), "three are open");
    assert!(Arc::ptr_eq(&before.sites[1].counts.backends[0], &back.sites[1].counts.backends[0]));
    drop(held);
    assert!(back.sites[1].slots[0].take().is_some());
}

#[tokio::test(flavor = "current_thread")]
async fn a_configuration_that_is_refused_leaves_no_mark_on_what_is_served() {
    let gateway = gateway(ONE);
    let mut wrong = config(ONE);
    Arc::make_mut(&mut wrong.services[0]).core.pools[0].backends[0].draining = true;
    Arc::make_mut(&mut wrong.services[1]).core.pools.clear();
    gateway.reload(wrong).expect_err("the second service has no pool");
    assert!(!gateway.snapshot().sites[0].service.backend(0).standing().draining);
}
