//! A task's turn: what it does before others have one.
//!
//! tokio counts what is read and written, and has a task wait when that was a hundred and twenty-eight. But
//! one read can bring thousands of frames, and whoever carries them all has the others of its worker wait
//! meanwhile. So each frame counts as well.

use std::task::{Context, Poll};

use tokio::task::coop::{RestoreOnPending, poll_proceed};

/// Ready where the turn goes on, of which this takes a part. Otherwise there will be another.
pub(crate) fn poll_spend(cx: &mut Context<'_>) -> Poll<()> {
    poll_proceed(cx).map(|spent: RestoreOnPending| spent.made_progress())
}
