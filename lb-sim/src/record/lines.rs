//! Files, line by line: which format they have, and what of them is not understood.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Record;
use super::access::Access;
use super::builder::{Builder, Grain};
use super::combined::Combined;
use super::cursor::Fault;
use super::haproxy::Haproxy;
use super::native::Native;
use super::text::{LINE_BYTES_MAX, Lines};

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
    let (mut mistakes, mut notes, mut ends) = (Vec::new(), Vec::new(), Ends::default());
    for file in files {
        let mut lines = Lines::of(file)?;
        // A log that was just turned over has nothing in it yet.
        if lines.first(1)?.is_empty() && files.len() > 1 {
            notes.push(format!("{}: is empty", file.display()));
            continue;
        }
        let format = match format {
            Some(format) => format,
            None => sniff(file, &mut lines)?,
        };
        let mut reading =
            Reading { file, mistakes: Vec::new(), lines: 0, garbage: 0, beside: 0, own: 0 };
        let from = to.exchanges();
        let mut reader = Reader::new(format);
        reading.read(&mut lines, &mut reader, &mut to, &mut ends)?;
        reading.judge(format, to.exchanges() - from)?;
        to.grain(from, reader.grain());
        // A cache or a folder of files, say: our own logs know what was asked of a service.
        if matches!(format, Format::Combined | Format::Haproxy) {
            reading.own = to.leave_out_own(from);
        }
        notes.extend(reading.notes(format, &reader));
        mistakes.append(&mut reading.mistakes);
    }
    if ends.0.is_none() {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        return Err(format!("{}: {EMPTY}", names.join(", ")));
    }
    let record = to.done();
    let span = record.exchanges.last().map_or(0, |last| last.at);
    if span > SPAN_DAYS_MAX * DAY {
        return Err(ends.too_far(span / DAY));
    }
    Ok(Record { mistakes, notes, ..record })
}

const EMPTY: &str = "is empty; give a record of lb-server or an access log";

/// Where the first exchange is, and where the last.
#[derive(Default)]
struct Ends<'f>(Option<(Place<'f>, Place<'f>)>);

/// Where an exchange is, and when it was.
#[derive(Clone, Copy)]
struct Place<'f> {
    at: u64,
    file: &'f Path,
    line: u64,
}

impl<'f> Ends<'f> {
    fn see(&mut self, at: u64, file: &'f Path, line: u64) {
        let place = Place { at, file, line };
        match &mut self.0 {
            None => self.0 = Some((place, place)),
            Some((first, _)) if at < first.at => *first = place,
            Some((_, last)) if at > last.at => *last = place,
            Some(_) => {}
        }
    }

    fn too_far(&self, days: u64) -> String {
        let (first, last) = self.0.as_ref().expect("two that are far apart were seen");
        let [first, last] = [first, last].map(|it| format!("{}:{}", it.file.display(), it.line));
        format!(
            "{first}, {last}: the first and the last exchange are {days} days apart, and at most \
             {SPAN_DAYS_MAX} can be replayed; give files of one time, without lines of another"
        )
    }
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
fn sniff(file: &Path, lines: &mut Lines) -> Result<Format, String> {
    let lines = lines.first(SNIFFED_MAX)?;
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
        true => format!("{name}: {EMPTY}"),
        false => {
            let all = Format::ALL.map(Format::as_str).join(", ");
            format!(
                "{name}:1:1: no line of the first {} is of a known format; say which with --format: {all}",
                lines.len()
            )
        }
    })
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

impl<'f> Reading<'f> {
    fn read(
        &mut self,
        lines: &mut Lines,
        reader: &mut Reader,
        to: &mut Builder,
        ends: &mut Ends<'f>,
    ) -> Result<(), String> {
        let mut line = Vec::new();
        while let Some(number) = lines.next(&mut line)? {
            self.lines += 1;
            let (what, remedy) = ("is longer than 1 MiB", "it is no line of a log");
            let long = Fault { column: 1, what, remedy, is_fatal: false };
            let done = match line.len() > LINE_BYTES_MAX {
                true => Err(long),
                false => reader.line(&line, to),
            };
            match done {
                Ok(true) => {
                    to.latest().into_iter().for_each(|at| ends.see(at, self.file, number));
                }
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
        }
        Ok(())
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
