//! Rehearse the real proxy in a simulated world, and hold it to what it promises.
//!
//! A [`Scenario`] embeds the configuration that will be deployed, and says what the world around it
//! is like and what goes wrong in it. [`Engine::Net`] lets turmoil run `lb_server` itself in that
//! world and writes down everything that happens. [`Verdict::of`] reads that log: the invariants,
//! which hold in every run, the scenario's own expectations, and whether its faults were noticed.
//! The same scenario, seed and binary give the same log, byte for byte.
//!
//! ```no_run
//! use lb_sim::{Engine, Verdict, scenario};
//!
//! # let text = "";
//! let source = lb_config::Source { name: "partition.toml", text };
//! let (scenario, diagnostics) = scenario::load(&source);
//! let scenario = scenario.unwrap_or_else(|| panic!("{diagnostics:?}"));
//! let verdict = Verdict::of(&scenario, 7, &Engine::Net.run(&scenario, 7));
//! assert_eq!(verdict.class(), None);
//! ```
//!
//! There is no proxy in this crate: it drives `lb_server`, which asks `lb_core`.

pub mod scenario;
pub mod roster;
pub mod engine;
mod net;
pub mod model;
pub mod rehearsal;
pub mod record;
pub mod replay;
pub mod papers;
mod life;
mod world;
mod way;
mod weather;
mod wire;
mod street;
mod real;
pub mod agreement;
mod harm;
mod origin;
mod streams;
mod luck;
mod seats;
mod filling;
mod zipf;
mod ziggurat;
mod arrivals;
mod client;
mod tunnels;
mod attackers;
mod dice;
mod panics;
pub mod parallel;
pub mod log;
pub mod tape;
pub mod repeat;
pub mod shelf;
pub mod ledger;
pub mod invariant;
pub mod measure;
mod gauge;
mod bite;
mod judging;
mod verdict;
pub mod sanity;
mod failure;
pub mod shell;
mod document;
pub mod swarm;
pub mod shrink;
pub mod store;
pub mod trace;
pub mod story;
pub mod report;
pub mod page;

pub use engine::Engine;
pub use failure::Failure;
pub use judging::{Judging, Scrutiny};
pub use scenario::Scenario;
pub use verdict::{Class, Expected, LookedAt, Verdict};
