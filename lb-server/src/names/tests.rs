//! Names in a world that says what it is told to, on a paused clock.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use tokio::task::LocalSet;
use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::gateway::Listeners;
use crate::platform::resolve::{Answer, Resolve, Target};
use crate::platform::{Address, Io, Listen, Local, Place, Platform, Tcp};

const SECOND: Duration = Duration::from_secs(1);

/// What is said about any name, and how often it was asked.
#[derive(Default)]
struct Said {
    addresses: Mutex<Option<(&'static str, u64)>>,
    takes: Mutex<Duration>,
    asked: Mutex<usize>,
    system_asked: Mutex<usize>,
}

struct World(Arc<Said>);

struct Resolver(Arc<Said>);

fn nobody<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Platform for World {
    fn listen(&self, _: Place) -> Local<'_, io::Result<Box<dyn Listen>>> {
        Box::pin(async { nobody() })
    }

    fn dial(&self, _: Address, _: Tcp) -> Local<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async { nobody() })
    }

    fn lookup<'p>(&'p self, _: &'p str, port: u16) -> Local<'p, io::Result<Vec<SocketAddr>>> {
        *self.0.system_asked.lock().unwrap() += 1;
        Box::pin(async move { Ok(vec![SocketAddr::new([192, 0, 2, 99].into(), port)]) })
    }

    fn resolver(&self, _: &Dns) -> io::Result<Option<Box<dyn Resolve>>> {
        Ok(Some(Box::new(Resolver(Arc::clone(&self.0)))))
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        nobody()
    }

    fn unix_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn seed(&self) -> u64 {
        7
    }
}

impl Resolve for Resolver {
    fn addresses<'r>(&'r self, _: &'r str, _: Family) -> Local<'r, io::Result<Answer<IpAddr>>> {
        *self.0.asked.lock().unwrap() += 1;
        let takes = *self.0.takes.lock().unwrap();
        Box::pin(async move {
            sleep(takes).await;
            let said = *self.0.addresses.lock().unwrap();
            let (addresses, ttl) = said.ok_or(io::ErrorKind::TimedOut)?;
            let records = addresses.split_whitespace().map(|ip| ip.parse().unwrap()).collect();
            Ok(Answer { records, ttl: Duration::from_secs(ttl) })
        })
    }

    fn targets<'r>(&'r self, _: &'r str) -> Local<'r, io::Result<Answer<Target>>> {
        Box::pin(async { nobody() })
    }
}

/// A gateway that asks `dns`, and what it is told.
struct Bench {
    gateway: Arc<Gateway>,
    said: Arc<Said>,
}

impl Bench {
    fn config(dns: &str) -> lb_config::Config {
        let text = format!(
            "[dns]\n{dns}\n[[listener]]\nbind = '127.0.0.1:0'\n\
             [[service]]\nname = 'web'\nhosts = ['*']\n\
             pool = [{{ backends = [{{ url = 'http://app.internal' }}] }}]\n"
        );
        let (config, said) = lb_config::load(&lb_config::Source { name: "lb.toml", text: &text });
        config.unwrap_or_else(|| panic!("{said:?}"))
    }

    fn new(dns: &str) -> Self {
        let config = Self::config(dns);
        let said = Arc::<Said>::default();
        let world = Arc::new(World(Arc::clone(&said)));
        Self { gateway: Gateway::new(world, config, Listeners::default()).unwrap(), said }
    }

    fn say(&self, addresses: &'static str, ttl: u64) {
        *self.said.addresses.lock().unwrap() = Some((addresses, ttl));
    }

    fn fail(&self) {
        *self.said.addresses.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        *self.said.asked.lock().unwrap()
    }

    fn origin(&self) -> Origin {
        self.gateway.snapshot().config.services[0].origins[0].clone()
    }

    /// What somebody gets who asks now.
    async fn get(&self) -> String {
        let got = addresses(&self.gateway, &self.origin()).await;
        got.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Runs on a paused clock.
fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

const SERVERS: &str = "servers = ['127.0.0.1']";

#[test]
fn an_answer_is_asked_for_once_by_all_who_want_it_and_again_when_it_has_run_out() {
    run(async {
        let bench = Bench::new(SERVERS);
        bench.say("192.0.2.1", 30);
        *bench.said.takes.lock().unwrap() = SECOND / 20;
        let (a, b, c) = tokio::join!(bench.get(), bench.get(), bench.get());
        assert_eq!([a, b, c], ["192.0.2.1"; 3]);
        bench.say("192.0.2.2", 30);
        advance(29 * SECOND).await;
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.1", 1));
        advance(SECOND).await;
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.2", 2));
    });
}

#[test]
fn a_ttl_of_nothing_holds_for_a_second_and_one_of_a_day_for_an_hour() {
    run(async {
        let bench = Bench::new(SERVERS);
        bench.say("192.0.2.1", 0);
        for _ in 0..100 {
            bench.get().await;
        }
        assert_eq!(bench.asked(), 1);
        advance(SECOND).await;
        bench.say("192.0.2.1", 86_400);
        bench.get().await;
        advance(3_600 * SECOND).await;
        bench.get().await;
        assert_eq!(bench.asked(), 3);
    });
}

#[test]
fn the_last_good_answer_serves_for_so_long_while_there_is_no_better_one() {
    run(async {
        let bench = Bench::new("servers = ['127.0.0.1']\nstale_max = '1m'");
        bench.say("192.0.2.1", 30);
        bench.get().await;
        for why in [Bench::fail as fn(&Bench), |bench: &Bench| bench.say("", 30)] {
            why(&bench);
            advance(31 * SECOND).await;
            for _ in 0..10 {
                assert_eq!(bench.get().await, "192.0.2.1");
            }
            let asked = bench.asked();
            advance(SECOND).await;
            assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.1", asked + 1));
            bench.say("192.0.2.1", 30);
            advance(SECOND).await;
            assert_eq!(bench.get().await, "192.0.2.1");
        }
        bench.fail();
        advance(89 * SECOND).await;
        assert_eq!(bench.get().await, "192.0.2.1");
        advance(SECOND).await;
        assert_eq!(bench.get().await, "", "now it is too old");
        bench.say("192.0.2.3", 30);
        advance(SECOND).await;
        assert_eq!(bench.get().await, "192.0.2.3");
    });
}

#[test]
fn who_has_an_old_answer_waits_a_moment_for_the_new_one_and_who_has_none_waits() {
    run(async {
        let bench = Bench::new(SERVERS);
        *bench.said.takes.lock().unwrap() = 10 * SECOND;
        bench.say("192.0.2.1", 30);
        let begun = Instant::now();
        assert_eq!((bench.get().await.as_str(), begun.elapsed()), ("192.0.2.1", 10 * SECOND));
        bench.say("192.0.2.2", 30);
        advance(30 * SECOND).await;
        let begun = Instant::now();
        for _ in 0..10 {
            assert_eq!(bench.get().await, "192.0.2.1");
        }
        assert_eq!(begun.elapsed(), PATIENCE, "once for all of them");
        sleep(10 * SECOND).await;
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.2", 2));
    });
}

#[test]
fn a_lookup_that_ended_with_its_worker_is_begun_anew_by_whoever_comes_next() {
    run(async {
        let bench = Bench::new(SERVERS);
        bench.say("192.0.2.1", 30);
        let Advice::Ask(asked) = bench.gateway.names.advise("app.internal", bench.gateway.now())
        else {
            panic!("nobody asked before")
        };
        let (got, ()) = tokio::join!(bench.get(), async {
            sleep(SECOND).await;
            drop(asked);
        });
        assert_eq!((got.as_str(), bench.asked()), ("192.0.2.1", 1));
    });
}

#[test]
fn an_answer_is_doubted_when_its_addresses_fail_and_asked_anew_but_not_each_time() {
    run(async {
        let bench = Bench::new(SERVERS);
        bench.say("192.0.2.1", 3_600);
        bench.get().await;
        bench.say("192.0.2.2", 3_600);
        let fails = || doubt(&bench.gateway, &bench.gateway.snapshot().sites[0].endpoints[0]);
        advance(PAUSE - SECOND / 10).await;
        fails();
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.1", 1));
        advance(SECOND / 10).await;
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.1", 1));
        fails();
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.2", 2));
        // Without an answer the one before it goes on as long as it said.
        advance(SECOND).await;
        bench.fail();
        fails();
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.2", 3));
    });
}

#[test]
fn other_servers_are_asked_at_once_and_those_before_them_are_not_listened_to() {
    run(async {
        let bench = Bench::new(SERVERS);
        let others = Bench::config("servers = ['127.0.0.2']\nstale_max = '1m'");
        bench.say("192.0.2.1", 3_600);
        bench.get().await;
        bench.gateway.reload(others.clone()).unwrap();
        bench.fail();
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.1", 2));
        advance(61 * SECOND).await;
        assert_eq!(bench.get().await, "", "it is the others' that counts");
        // Somebody is asked, and not those any more.
        bench.say("192.0.2.1", 3_600);
        *bench.said.takes.lock().unwrap() = 10 * SECOND;
        advance(SECOND).await;
        let before = async { bench.get().await };
        let change = async {
            sleep(SECOND).await;
            bench.gateway.reload(Bench::config(SERVERS)).unwrap();
            bench.say("192.0.2.2", 3_600);
            sleep(8 * SECOND + SECOND / 2).await;
            bench.say("192.0.2.1", 3_600);
            sleep(SECOND).await;
            bench.say("192.0.2.2", 3_600);
        };
        let (got, ()) = tokio::join!(before, change);
        assert_eq!(got, "192.0.2.2");
        // The same ones are asked when it is time to.
        let asked = bench.asked();
        bench.gateway.reload(Bench::config(SERVERS)).unwrap();
        assert_eq!((bench.get().await.as_str(), bench.asked()), ("192.0.2.2", asked));
    });
}

#[test]
fn the_system_has_the_last_word_unless_servers_are_named() {
    run(async {
        for (dns, got) in [("", "192.0.2.99"), (SERVERS, "")] {
            let bench = Bench::new(dns);
            assert_eq!(bench.get().await, got);
            assert_eq!(bench.asked(), 1);
            assert_eq!(*bench.said.system_asked.lock().unwrap(), usize::from(dns.is_empty()));
        }
    });
}

#[test]
fn names_make_room_for_others() {
    let names = Names::default();
    let ask = |at: usize, now| match names.advise(&format!("{at}.internal"), now) {
        Advice::Ask(asked) => Some(asked),
        Advice::Use(_) | Advice::Wait(..) => None,
    };
    for at in 0..NAMES_MAX {
        let now = Time::from_micros(at as u64);
        let asked = ask(at, now).expect("nobody asked before");
        let found = Ok((vec![IpAddr::from([192, 0, 2, 1])], SECOND * 3_600));
        assert_eq!(names.learn((&format!("{at}.internal"), &asked), found, SECOND, now), None);
    }
    let now = Time::from_millis(1_000);
    assert!(ask(NAMES_MAX, now).is_some() && names.known().len() == NAMES_MAX);
    let (other, first) = (ask(1, now), ask(0, now));
    assert!(other.is_none() && first.is_some(), "the one that serves the shortest went");
}

#[test]
fn addresses_of_both_kinds_are_tried_by_turns_and_not_without_end() {
    let ips = |all: &str| all.split(' ').map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
    let mixed = ips("192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1 2001:db8::2");
    let turns = ips("192.0.2.1 2001:db8::1 192.0.2.2 2001:db8::2 192.0.2.3");
    assert_eq!(in_turn(&mixed), turns);
    assert_eq!(in_turn(&ips("2001:db8::1")), ips("2001:db8::1"));
    let many: Vec<IpAddr> = (0..100).map(|last| [192, 0, 2, last].into()).collect();
    assert_eq!(in_turn(&many), many[..ADDRESSES_MAX]);
}

#[test]
fn an_address_that_lost_is_tried_last_for_a_while_whatever_the_next_answer_says() {
    run(async {
        let bench = Bench::new(SERVERS);
        bench.say("192.0.2.1 192.0.2.2 192.0.2.3", 1);
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        let (names, host) = (&bench.gateway.names, "app.internal");
        let lost = |last| names.lost(host, ip(last), bench.gateway.now());
        let won = |last| names.won(host, ip(last), bench.gateway.now());
        assert_eq!(bench.get().await, "192.0.2.1 192.0.2.2 192.0.2.3");
        won(1);
        assert_eq!(bench.get().await, "192.0.2.1 192.0.2.2 192.0.2.3", "nobody lost");
        lost(1);
        won(2);
        assert_eq!(bench.get().await, "192.0.2.2 192.0.2.3 192.0.2.1");
        bench.say("192.0.2.1 192.0.2.3 192.0.2.2", 1);
        advance(SECOND).await;
        assert_eq!(bench.get().await, "192.0.2.3 192.0.2.2 192.0.2.1");
        // Who wins in the end has not lost.
        lost(3);
        lost(2);
        won(1);
        assert_eq!(bench.get().await, "192.0.2.1 192.0.2.2 192.0.2.3");
        advance(LOST_FOR).await;
        bench.say("192.0.2.2 192.0.2.3 192.0.2.1", 1);
        assert_eq!(bench.get().await, "192.0.2.2 192.0.2.3 192.0.2.1", "forgotten");
    });
}
