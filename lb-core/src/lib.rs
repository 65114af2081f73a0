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
//! use lb_core::config::*;
//! use lb_core::*;
//!
//! let backends = vec![BackendConfig::new("http://a"), BackendConfig::new("http://b")];
//! let config = ServiceConfig {
//!     policy: Policy::RoundRobin,
//!     ..ServiceConfig::new("api", vec![PoolConfig::new("all", backends)])
//! };
//! let service = Service::new(&config, 0, 7)?;
//!
//! let now = Time::ZERO;
//! let ask = Ask::bare(ExchangeId(1), Repeat::Idempotent);
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
//! delivery.end(BodyEnd::Complete, &service, now, &Unobserved);
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
mod statuses;
mod area;
mod facts;
mod key;
mod client_key;
mod adaptive;
mod caps;
mod limit;
mod event;
mod input;
mod outcome;
mod breaker;
mod budget;
mod quantile;
mod standing;
mod latency;
mod outlier;
mod warmth;
mod probe;
mod rate;
mod score;
mod silence;
mod window;
mod backend;
mod lease;
mod fitness;
mod tried;
mod affinity;
mod stick;
mod balance;
mod group;
mod pool;
mod steer;
mod backoff;
mod retry;
mod service;
#[cfg(all(test, loom))]
mod races;
mod checks;
mod learned;
mod cidr;
mod explain;
mod exchange;
mod host;
mod request;
mod percent;
mod reading;
mod path;
mod condition;
mod router;
mod template;
pub mod edit;

pub use backend::Member;
pub use balance::How;
pub use breaker::{Breaker, BreakerState, Declined, Permit, Role, Verdict};
pub use cidr::{Cidr, NoCidr};
pub use client_key::network_of;
pub use event::{BackendId, Choice, Event, ExchangeId, Observe, Rejection, Unobserved};
pub use exchange::{Ask, Attempt, Delivery, Errand, Exchange, Hedge, Queue, Step, Wait};
pub use explain::{CANDIDATES_MAX, Candidate, Explanation, LeftOut, PoolSeen};
pub use facts::{Facts, Unknown, find_cookie};
pub use hash::stable_hash;
pub use input::Input;
pub use learned::{Learned, LearnedBreaker, LearnedRecord, Measured};
pub use limit::Rank;
pub use outcome::{BodyEnd, Failure, Outcome, Reach};
pub use outlier::Outlier;
pub use pool::Pool;
pub use probe::{Checked, Found, Then};
pub use rate::Allowance;
pub use request::{Request, Scheme};
pub use retry::{Body, Repeat, Withheld};
pub use rng::Rng;
pub use router::{Match, Router, Unrouted};
pub use service::{GONE_FOR, Meaningless, Service};
pub use standing::Standing;
pub use steer::Steered;
pub use time::Time;
pub use word::{Shared, Word};
