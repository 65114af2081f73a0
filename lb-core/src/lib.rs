//! Every decision a load balancer makes, as values and pure steps.
//!
//! This crate does not know what time it is, draws no entropy, does no I/O, takes no lock, spawns
//! nothing and logs nothing: time, chance and the outcome of I/O are arguments, decisions and
//! events are results. So the same code serves traffic in `lb-server` and is rehearsed in `lb-sim`.
//!
//! A tour. A [`Service`] is what a host name is served by. Each request starts an [`Exchange`] at
//! it, which says [`Step`] by step what to do next:
//!
//! ```
//! use core::time::Duration;
//! use lb_core::config::*;
//! use lb_core::*;
//!
//! let backend = |name: &str| BackendConfig { name: name.into(), weight: 1 };
//! let service = Service::new(
//!     &ServiceConfig {
//!         name: "api".into(),
//!         policy: Policy::RoundRobin,
//!         when_all_unfit: WhenAllUnfit::FailFast,
//!         breaker: None,
//!         retry: RetryConfig {
//!             attempts_max: 3,
//!             statuses: vec![503],
//!             budget: BudgetConfig { percent: 20, min_per_second: 10, burst: 50 },
//!             backoff: BackoffConfig {
//!                 base: Duration::from_millis(25),
//!                 max: Duration::from_secs(1),
//!                 jitter: Jitter::Full,
//!             },
//!         },
//!         timeouts: Timeouts {
//!             connect: Duration::from_secs(2),
//!             first_byte: Duration::from_secs(15),
//!             body_idle: Duration::from_secs(30),
//!             exchange: Duration::from_secs(300),
//!         },
//!         pools: vec![PoolConfig {
//!             name: "all".into(),
//!             backends: vec![backend("http://a"), backend("http://b")],
//!         }],
//!     },
//!     0,
//!     7,
//! )?;
//!
//! let now = Time::ZERO;
//! let ask = Ask { id: ExchangeId(1), repeat: Repeat::Idempotent };
//! let Step::Attempt(attempt) = Exchange::start(&service, &Unobserved, ask, now) else { panic!() };
//! assert_eq!(attempt.backend().name(), "http://a");
//! assert_eq!(attempt.backend().in_flight(), 1);
//!
//! // Nobody listens there. The next backend gets the request at once.
//! let refused = Outcome::Failed(Failure::ConnectRefused);
//! let Step::Attempt(attempt) = attempt.finish(refused, Body::Intact, now) else { panic!() };
//! assert_eq!(attempt.backend().name(), "http://b");
//!
//! // It answers: the lease is held until the last byte of the body.
//! let answered = Outcome::Answered(200);
//! let Step::Deliver(delivery) = attempt.finish(answered, Body::Intact, now) else { panic!() };
//! delivery.end(BodyEnd::Complete, now, &Unobserved);
//! assert!(service.backends().all(|backend| backend.in_flight() == 0));
//! # Ok::<(), Meaningless>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, loom))]
extern crate std;

pub mod config;
mod time;
mod rng;
mod hash;
mod word;
mod event;
mod outcome;
mod breaker;
mod budget;
mod backend;
mod fitness;
mod tried;
mod balance;
mod pool;
mod retry;
mod service;
mod exchange;
mod route;

pub use backend::{Backend, Lease};
pub use balance::How;
pub use breaker::{Breaker, BreakerState, Declined, Permit, Role, Verdict};
pub use event::{BackendId, Choice, Event, ExchangeId, Observe, Rejection, Unobserved};
pub use exchange::{Ask, Attempt, Delivery, Exchange, Step, Wait};
pub use hash::stable_hash;
pub use outcome::{BodyEnd, Failure, Outcome, Reach};
pub use pool::Pool;
pub use retry::{Body, Repeat, Withheld};
pub use rng::Rng;
pub use route::Routes;
pub use service::{Meaningless, Service};
pub use time::Time;
pub use word::{Shared, Word};
