//! Standard error, where the operator is told things: a bounded queue, and a thread that writes.
//!
//! Whoever reads standard error may stop to (a log driver that blocks, a terminal on hold), and a write
//! then lasts for ever. Workers, and whoever hears signals, must never wait for that. Before there is a
//! thread, and for a command that ends by itself, what is said is written at once.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;

use lb_server::Notices;

use crate::counted;
use crate::patient::Patient;

/// Notices that wait to be written. When more come than standard error takes, they are lost and counted.
const NOTICES_MAX: usize = 1_024;
/// How long the last of them may take to be written when the process ends.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Standard error is one in a process, and so is what waits for it.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Says something to the person who started the process. Standard output is the access log's.
pub(crate) fn say(text: &str) {
    let line = format!("{text}\n");
    match QUEUE.get() {
        Some(queue) => queue.push(line),
        // Nobody is left to be told when standard error is closed.
        None => drop(io::stderr().lock().write_all(line.as_bytes())),
    }
}

/// From now on saying something waits for nobody; nor does a panic, which is said as well.
pub(crate) fn open() -> io::Result<()> {
    let queue = Arc::<Queue>::default();
    let written = Arc::clone(&queue);
    #[expect(clippy::disallowed_methods, reason = "standard error has no asynchronous form")]
    Builder::new()
        .name("notices".to_owned())
        .spawn(move || written.write_all(&mut Patient(io::stderr())))?;
    QUEUE.get_or_init(|| queue);
    panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        // Which RUST_BACKTRACE asks for.
        let backtrace = Backtrace::capture();
        let backtrace = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        say(&format!("lb-server: thread {name} {info}{backtrace}"));
    }));
    Ok(())
}

/// Dropping it waits until all is written that was said, for a bounded time.
pub(crate) struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        if let Some(queue) = QUEUE.get() {
            queue.wait(LAST_WORDS_TIMEOUT);
        }
    }
}

/// Standard error, as the rest of the proxy sees it.
pub(crate) struct Said;

impl Notices for Said {
    fn say(&self, notice: &str) {
        say(&format!("lb-server: {notice}"));
    }

    fn lost(&self) -> u64 {
        QUEUE.get().map_or(0, |queue| queue.state().lost)
    }
}

/// What is said and not written yet.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<String>,
    /// Whether one of them is being written.
    is_writing: bool,
    lost: u64,
    /// How many of those that are lost nobody was told of.
    untold: usize,
}

impl Queue {
    fn push(&self, line: String) {
        let mut state = self.state();
        if state.waiting.len() < NOTICES_MAX {
            state.waiting.push_back(line);
        } else {
            state.lose();
        }
        self.moved.notify_all();
    }

    /// Writes whatever is said, for ever.
    fn write_all(&self, out: &mut impl Write) {
        loop {
            let idle = |state: &mut State| state.waiting.is_empty();
            let state = self.moved.wait_while(self.state(), idle);
            self.write(state.unwrap_or_else(PoisonError::into_inner), out);
        }
    }

    /// Writes the first that waits, and before it how many are lost since something was written.
    fn write(&self, mut state: MutexGuard<'_, State>, out: &mut impl Write) {
        let Some(line) = state.waiting.pop_front() else { return };
        let untold = std::mem::take(&mut state.untold);
        state.is_writing = true;
        drop(state);
        let gap = match untold {
            0 => String::new(),
            _ => format!(
                "lb-server: warning: {} lost: nobody took what was said in time\n",
                counted(untold, "notice")
            ),
        };
        // In one piece, since a successor of this process writes to the same file.
        let written = out.write_all((gap + &line).as_bytes());
        let mut state = self.state();
        if written.is_err() {
            state.lose();
            state.untold += untold;
        }
        state.is_writing = false;
        self.moved.notify_all();
    }

    /// Waits until all is written, for a bounded time.
    fn wait(&self, most: Duration) {
        let busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(self.moved.wait_timeout_while(self.state(), most, busy));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lose(&mut self) {
        self.lost += 1;
        self.untold += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(queue: &Queue) -> (u64, usize) {
        let state = queue.state();
        (state.lost, state.untold)
    }

    #[test]
    fn what_does_not_fit_is_counted_and_said_as_soon_as_there_is_room() {
        let (queue, mut out) = (Queue::default(), Vec::new());
        for count in 0..NOTICES_MAX + 3 {
            queue.push(format!("{count}\n"));
        }
        assert_eq!(lost(&queue), (3, 3));
        queue.write(queue.state(), &mut out);
        queue.write(queue.state(), &mut out);
        let gap = "lb-server: warning: 3 notices lost: nobody took what was said in time";
        assert_eq!(String::from_utf8(out).unwrap(), format!("{gap}\n0\n1\n"), "it is said once");
        assert_eq!(lost(&queue), (3, 0));
    }

    #[test]
    fn what_cannot_be_written_is_lost_as_well_and_said_later() {
        let (queue, mut out) = (Queue::default(), Vec::new());
        queue.push("one\n".to_owned());
        queue.write(queue.state(), &mut [0_u8; 2].as_mut_slice());
        queue.push("two\n".to_owned());
        queue.write(queue.state(), &mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("1 notice lost") && out.ends_with("\ntwo\n"), "{out}");
    }
}
