//! The lines of a file, each read once: a pipe cannot be read from its beginning again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::shell::quoted;

/// Bytes of a line; what is longer is garbage.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;
/// What a file that gzip has made begins with (RFC 1952 §2.3.1).
const GZIP: &[u8] = b"\x1f\x8b";
/// What editors put before a text in UTF-8, and what is no part of it.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a file that are not empty, in order.
pub(super) struct Lines {
    name: String,
    input: BufReader<File>,
    /// How many there were so far, the empty ones as well.
    number: u64,
    /// What was looked at before its turn.
    ahead: VecDeque<(u64, Vec<u8>)>,
}

impl Lines {
    pub(super) fn of(file: &Path) -> Result<Self, String> {
        let name = file.display().to_string();
        let said = |error| lb_config::unreadable(&name, &error);
        let mut input = BufReader::with_capacity(LINE_BYTES_MAX, File::open(file).map_err(said)?);
        let start = input.fill_buf().map_err(said)?;
        if start.starts_with(GZIP) {
            let from = quoted(&name);
            return Err(format!(
                "{name}: is compressed with gzip; unpack it first: zcat {from} > access.log"
            ));
        }
        let mark = if start.starts_with(MARK) { MARK.len() } else { 0 };
        input.consume(mark);
        Ok(Self { name, input, number: 0, ahead: VecDeque::new() })
    }

    /// The first so many of those that are left, which stay.
    pub(super) fn first(&mut self, count: usize) -> Result<Vec<&[u8]>, String> {
        let mut line = Vec::new();
        while self.ahead.len() < count
            && let Some(number) = self.read(&mut line)?
        {
            self.ahead.push_back((number, line.clone()));
        }
        Ok(self.ahead.iter().take(count).map(|(_, line)| line.as_slice()).collect())
    }

    /// Puts the next one into `line`, and says which of the file's it is, counted from 1.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<u64>, String> {
        match self.ahead.pop_front() {
            Some((number, ahead)) => {
                *line = ahead;
                Ok(Some(number))
            }
            None => self.read(line),
        }
    }

    fn read(&mut self, line: &mut Vec<u8>) -> Result<Option<u64>, String> {
        let Self { name, input, number, .. } = self;
        let said = |error| lb_config::unreadable(name, &error);
        loop {
            line.clear();
            // What is longer is known by its length, and its rest is passed over.
            let mut bounded = input.by_ref().take(LINE_BYTES_MAX as u64 + 1);
            if bounded.read_until(b'\n', line).map_err(said)? == 0 {
                return Ok(None);
            }
            *number += 1;
            if line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
                input.skip_until(b'\n').map_err(said)?;
            }
            while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                line.pop();
            }
            if !line.is_empty() {
                return Ok(Some(*number));
            }
        }
    }
}
