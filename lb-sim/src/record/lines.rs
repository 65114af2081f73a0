//! Files, line by line: which format they have, and what of them is not understood.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::shell::quoted;

use super::Record;
use super::access::Access;
use super::builder::{Builder, Grain};
use super::combined::Combined;
use super::cursor::Fault;
use super::haproxy::Haproxy;
use super::native::Native;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A record of `lb-server`.
    Record,
    /// The JSON access log of `lb-server`.
    Access,
    /// The combined log format of nginx and Apache.
    Combined,
    /// The HTTP log of HAProxy.
    Haproxy,
}

impl Format {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Record, Self::Access, Self::Haproxy, Self::Combined];

    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Access => "access-log",
            Self::Combined => "combined",
            Self::Haproxy => "haproxy",
        }
    }
}

/// Of a file's lines, so many percent may be garbage; if more are, it is another format.
pub const GARBAGE_PERCENT_MAX: u64 = 10;
/// Lines of a file by which its format is known.
const SNIFFED_MAX: usize = 50;
/// Bytes of a line; what is longer is garbage.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// What a file that gzip has made begins with (RFC 1952 §2.3.1).
const GZIP: &[u8] = b"\x1f\x8b";
/// Days from the first exchange to the last.
const SPAN_DAYS_MAX: u64 = 31;
/// In microseconds.
const DAY: u64 = 86_400_000_000;
/// Kinds of mistakes that are told apart.
const KINDS_MAX: usize = 32;

/// A kind of mistake: where it was first, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The first line that has it, counted from 1.
    pub line: u64,
    /// Which character of that line, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub what: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// How many lines have it.
    pub count: u64,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, what, remedy, count } = self;
        write!(out, "{}:{line}:{column}: the line {what}; {remedy}", file.display())?;
        match count {
            1 => Ok(()),
            2 => write!(out, " (and one more line)"),
            _ => write!(out, " (and {} more lines)", count - 1),
        }
    }
}

/// Reads `files` as one record. Each is of `format`, or of the one that its first lines are of.
///
/// # Errors
/// In words, with the place and a remedy: a file cannot be read, nothing in it is understood, or too
/// little is.
pub fn read(files: &[PathBuf], format: Option<Format>) -> Result<Record, String> {
    let mut to = Builder::default();
    let (mut mistakes, mut notes) = (Vec::new(), Vec::new());
    for file in files {
        let format = match format {
            Some(format) => format,
            None => sniff(file)?,
        };
        let mut reading =
            Reading { file, mistakes: Vec::new(), lines: 0, garbage: 0, beside: 0, own: 0 };
        let from = to.exchanges();
        let mut reader = Reader::new(format);
        reading.read(&mut reader, &mut to)?;
        reading.judge(format, to.exchanges() - from)?;
        to.grain(from, reader.grain());
        // A cache or a folder of files, say: our own logs know what was asked of a service.
        if matches!(format, Format::Combined | Format::Haproxy) {
            reading.own = to.leave_out_own(from);
        }
        notes.extend(reading.notes(format, &reader));
        mistakes.append(&mut reading.mistakes);
    }
    let record = to.done();
    let span = record.exchanges.last().map_or(0, |last| last.at);
    if span > SPAN_DAYS_MAX * DAY {
        let (days, first) = (span / DAY, files.first().map(|file| file.display().to_string()));
        return Err(format!(
            "{}: the first and the last exchange are {days} days apart, and at most {SPAN_DAYS_MAX} can be \
             replayed; give files of one time",
            first.unwrap_or_default()
        ));
    }
    Ok(Record { mistakes, notes, ..record })
}

/// Whoever understands lines of one format.
enum Reader {
    Native(Native),
    Access(Access),
    Combined(Combined),
    Haproxy,
}

impl Reader {
    fn new(format: Format) -> Self {
        match format {
            Format::Record => Self::Native(Native::default()),
            Format::Access => Self::Access(Access::default()),
            Format::Combined => Self::Combined(Combined::default()),
            Format::Haproxy => Self::Haproxy,
        }
    }

    /// Whether it was an exchange; not every line is one.
    fn line(&mut self, line: &[u8], to: &mut Builder) -> Result<bool, Fault> {
        match self {
            Self::Native(native) => native.line(line, to),
            Self::Access(access) => access.line(line, to),
            Self::Combined(combined) => combined.line(line, to),
            Self::Haproxy => Haproxy::line(line, to),
        }
    }

    const fn grain(&self) -> Grain {
        match self {
            Self::Combined(_) => Grain::EndSecond,
            Self::Native(_) | Self::Access(_) | Self::Haproxy => Grain::Fine,
        }
    }
}

/// The format of which most of the first lines are.
fn sniff(file: &Path) -> Result<Format, String> {
    let mut lines = Vec::new();
    each_line(file, |_, line| {
        if !line.is_empty() {
            lines.push(line.to_vec());
        }
        Ok(lines.len() < SNIFFED_MAX)
    })?;
    let understood = |format| {
        let (mut reader, mut to) = (Reader::new(format), Builder::default());
        lines.iter().filter(|line| reader.line(line, &mut to).is_ok()).count()
    };
    let mut best = (0, None);
    for format in Format::ALL {
        let count = understood(format);
        // A header of a later version is a record nevertheless, and must be told so.
        let is_record = lines.first().is_some_and(|line| line.starts_with(b"{\"lb_record\""));
        if format == Format::Record && is_record {
            return Ok(format);
        }
        if count > best.0 {
            best = (count, Some(format));
        }
    }
    let name = file.display();
    best.1.ok_or_else(|| match lines.is_empty() {
        true => format!("{name}: is empty; give a record of lb-server or an access log"),
        false => {
            let all = Format::ALL.map(Format::as_str).join(", ");
            format!(
                "{name}:1:1: no line of the first {} is of a known format; say which with --format: {all}",
                lines.len()
            )
        }
    })
}

/// Gives each line of a file to `with`, with its number, until that has had enough.
fn each_line(
    file: &Path,
    mut with: impl FnMut(u64, &[u8]) -> Result<bool, String>,
) -> Result<(), String> {
    let name = file.display().to_string();
    let said = |error| lb_config::unreadable(&name, &error);
    let mut input = BufReader::with_capacity(LINE_BYTES_MAX, File::open(file).map_err(said)?);
    if input.fill_buf().map_err(said)?.starts_with(GZIP) {
        let from = quoted(&name);
        return Err(format!(
            "{name}: is compressed with gzip; unpack it first: zcat {from} > access.log"
        ));
    }
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        // What is longer is known by its length, and its rest is passed over.
        let mut bounded = input.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        if bounded.read_until(b'\n', &mut line).map_err(said)? == 0 {
            return Ok(());
        }
        number += 1;
        if line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            input.skip_until(b'\n').map_err(said)?;
        }
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        if !with(number, &line)? {
            return Ok(());
        }
    }
}

/// A file being read.
struct Reading<'f> {
    file: &'f Path,
    mistakes: Vec<Mistake>,
    lines: u64,
    garbage: u64,
    /// Lines that are understood and no exchange of a service.
    beside: u64,
    /// Exchanges that the proxy answered itself.
    own: usize,
}

impl Reading<'_> {
    fn read(&mut self, reader: &mut Reader, to: &mut Builder) -> Result<(), String> {
        let file = self.file;
        each_line(file, |number, line| {
            if line.is_empty() {
                return Ok(true);
            }
            self.lines += 1;
            let (what, remedy) = ("is longer than 1 MiB", "it is no line of a log");
            let long = Fault { column: 1, what, remedy, is_fatal: false };
            let done = match line.len() > LINE_BYTES_MAX {
                true => Err(long),
                false => reader.line(line, to),
            };
            match done {
                Ok(true) => {}
                Ok(false) => self.beside += 1,
                Err(fault) => {
                    let before = &line[..(fault.column - 1).min(line.len())];
                    let column = String::from_utf8_lossy(before).chars().count() + 1;
                    self.note(number, Fault { column, ..fault });
                    if fault.is_fatal {
                        let told = self.mistakes.iter().find(|it| it.what == fault.what);
                        return Err(told.map(ToString::to_string).unwrap_or_default());
                    }
                }
            }
            Ok(true)
        })
    }

    /// A line is not understood.
    fn note(&mut self, line: u64, Fault { column, what, remedy, .. }: Fault) {
        self.garbage += 1;
        let known = self.mistakes.iter().position(|it| it.what == what);
        match known {
            Some(known) => self.mistakes[known].count += 1,
            None if self.mistakes.len() < KINDS_MAX => {
                let file = self.file.to_owned();
                self.mistakes.push(Mistake { file, line, column, what, remedy, count: 1 });
            }
            None => {}
        }
    }

    /// Whether enough was understood.
    fn judge(&self, format: Format, exchanges: usize) -> Result<(), String> {
        let (name, format) = (self.file.display(), format.as_str());
        let told: Vec<String> = self.mistakes.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        if exchanges == 0 {
            let why = format!("{name}: no exchange in {} lines, read as {format}", self.lines);
            let remedy = "give another file, or the right --format";
            return Err(format!("{why}; {remedy}\n{told}").trim_end().to_owned());
        }
        if self.garbage * 100 > self.lines * GARBAGE_PERCENT_MAX {
            return Err(format!(
                "{name}: {} of {} lines are not understood as {format}, which is more than \
                 {GARBAGE_PERCENT_MAX} %; take them out, or say another --format\n{told}",
                self.garbage, self.lines
            ));
        }
        Ok(())
    }

    fn notes(&self, format: Format, reader: &Reader) -> Vec<String> {
        let name = self.file.display();
        let mut notes = Vec::new();
        if format == Format::Access && self.beside > 0 {
            notes.push(format!(
                "{name}: left out, since no service was asked before they were answered: {}",
                self.beside
            ));
        }
        if self.own > 0 {
            notes.push(format!(
                "{name}: left out, since the proxy answered them itself: {}",
                self.own
            ));
        }
        if let Reader::Combined(combined) = reader {
            let second = "arrivals are known to the second, and spread evenly over it";
            notes.push(match combined.is_timed {
                true => format!("{name}: {second}"),
                false => format!("{name}: {second}; it says nothing of how long anything took"),
            });
        }
        notes
    }
}
