//! `[record]`: where exchanges are recorded, so that they can be replayed.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::{Recording, WhenFull};
use crate::native::KIB;
use crate::read::{Mistake, Table};

/// From some seconds of much traffic to days of it.
const BYTES: RangeInclusive<usize> = 1024 * KIB..=1024 * 1024 * 1024 * KIB;

/// `None` where no file is named.
pub(super) fn record(mut table: Table<'_>) -> Option<Recording> {
    let file = table.parsed("file", path).given();
    let bytes_max = table.size("bytes_max", BYTES).or(1024 * 1024 * KIB);
    let ways = [("stop", WhenFull::Stop), ("rotate", WhenFull::Rotate)];
    let when_full = table.choice("when_full", &ways).or(WhenFull::Stop);
    let Some(file) = file else {
        if !table.has_any(&["file"]) {
            table.warn_without_effect(&["bytes_max", "when_full"], "without file");
        }
        return None;
    };
    Some(Recording { file: file.value, bytes_max: bytes_max as u64, when_full })
}

fn path(text: &str) -> Result<PathBuf, Mistake> {
    match text {
        "" => Err(Mistake::new("is empty", "write a path, as in \"/var/lib/lb/record.lb\"")),
        _ => Ok(PathBuf::from(text)),
    }
}
