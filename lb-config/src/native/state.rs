//! `[state]`: where what was learned about backends outlives the process.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::State;
use crate::native::DURATIONS;
use crate::read::{Mistake, Table};

/// Each is a small file written through to the disk.
const EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

/// `None` where no file is named.
pub(super) fn state(mut table: Table<'_>) -> Option<State> {
    let file = table.parsed("file", path).given();
    let max_age = table.duration("max_age", DURATIONS).or_given(State::MAX_AGE);
    let every = table.duration("every", EVERY).or_given(Duration::from_secs(5));
    let Some(file) = file else {
        if !table.has_any(&["file"]) {
            table.warn_without_effect(&["max_age", "every"], "without file");
        }
        return None;
    };
    if every.value > max_age.value {
        let at = if every.said { every.at } else { max_age.at };
        let what = "every is more than max_age: the file is too old before it is written again";
        table.report().error(at, what, "lower every or raise max_age");
    }
    Some(State { file: file.value, max_age: max_age.value, every: every.value })
}

fn path(text: &str) -> Result<PathBuf, Mistake> {
    match text {
        "" => Err(Mistake::new("is empty", "write a path, as in \"/var/lib/lb/state.json\"")),
        _ => Ok(PathBuf::from(text)),
    }
}
