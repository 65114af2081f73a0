//! The real proxy: listeners, upstream pool, bodies, admin. It decides nothing; `lb_core` does.
//!
//! Begin with `proxy.rs`, which reads in the order of a request's life. [`Gateway`] is what a
//! process shares, [`run`] is one worker on the current single-threaded runtime, and [`Platform`]
//! is all they may ask of the world: the binary gives them the real one, the simulator its own.

mod probe;
mod proxy;
mod routed;
mod layers;
mod mirror;
mod retry_after;
mod headers;
mod line;
mod framing;
mod arriving;
mod asking;
mod attempt;
mod pool;
mod http1;
mod slots;
mod dial;
mod distrust;
mod names;
mod exec;
mod body;
mod boxed;
mod client;
mod pulse;
mod turn;
mod unread;
mod whence;
mod download;
mod reply;
mod held;
mod upgrade;
mod tunnel;
mod relay;
mod error;
mod request_id;
mod serve;
mod proxy_protocol;
mod forwarded;
mod crowd;
mod doors;
mod curfew;
mod worker;
mod duties;
mod secured;
mod snapshot;
mod view;
mod gateway;
mod discovery;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod state;
mod admin;
mod observe;
pub mod record;
#[cfg(test)]
mod dice;
pub mod platform;
pub mod shutdown;
pub mod tls;

pub use discovery::Ahead;
pub use exec::Here;
pub use gateway::{Gateway, Listeners, RELOAD_CALLS_MAX, ReloadCall, Reloads, Renewal};
pub use observe::{AccessSink, Latencies, Notices, Tap};
pub use platform::Platform;
pub use record::RecordSink;
pub use request_id::RequestId;
pub use shutdown::Shutdown;
pub use snapshot::{Snapshot, StartError};
pub use worker::{Bound, Listening, WorkerOptions, run};
