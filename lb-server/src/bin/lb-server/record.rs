//! The record of exchanges: a bounded queue, and a thread that writes a file of bounded size.
//!
//! What is written goes out in pieces of many lines. Each piece begins with the table that explains it, or
//! with its name where the file has the table already: so two processes can write to one file while one
//! takes over from the other.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use hmac::{Hmac, KeyInit, Mac};
use lb_config::config::{Recording, WhenFull};
use lb_server::RecordSink;
use lb_server::record::Table;
use rustls::crypto::aws_lc_rs;
use sha2::Sha256;

use crate::say;

/// Lines that wait to be written. When more come than the disk takes, they are lost and counted: a slow
/// disk must not slow down a request.
const LINES_MAX: usize = 65_536;
/// Bytes that are written at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Tables that are remembered; those of long ago are written again if they come up.
const TABLES_MAX: usize = 64;

/// Where workers leave their lines.
pub(crate) struct Recorder {
    lines: SyncSender<(Arc<Table>, Vec<u8>)>,
    /// Keyed by a secret of this process, which nobody ever learns: it is in no file and not in the record.
    veil: Hmac<Sha256>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
}

/// Opens the record, which has no file until a configuration names one. The thread ends when the last
/// holder of the recorder is gone.
pub(crate) fn open() -> io::Result<(Arc<Recorder>, JoinHandle<()>)> {
    let mut secret = [0; 32];
    let random = aws_lc_rs::default_provider().secure_random;
    random.fill(&mut secret).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let veil = Hmac::new_from_slice(&secret).expect("any length of key will do");
    let (lines, queue) = sync_channel(LINES_MAX);
    let counts = Arc::new(Counts::default());
    let mut writer = Writer { counts: Arc::clone(&counts), known: Vec::new(), open: None };
    #[expect(clippy::disallowed_methods, reason = "files have no asynchronous form")]
    let thread = Builder::new().name("record".to_owned()).spawn(move || writer.run(&queue))?;
    Ok((Arc::new(Recorder { lines, veil, counts }), thread))
}

/// Whether the record can be written where it is said to be.
pub(crate) fn check(said: Option<&Recording>) -> Result<(), String> {
    said.map_or(Ok(()), |said| {
        append(&said.file).map(drop).map_err(|error| cannot(&said.file, &error))
    })
}

fn append(file: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(file)
}

fn cannot(file: &Path, error: &io::Error) -> String {
    let name = file.display();
    format!(
        "cannot write the record {name}: {error}; [record] file must be in a folder that exists and that \
         this user may write to"
    )
}

impl RecordSink for Recorder {
    fn veil(&self, key: u64) -> u64 {
        let mut mac = self.veil.clone();
        mac.update(&key.to_le_bytes());
        let hash = mac.finalize().into_bytes();
        u64::from_le_bytes(*hash.first_chunk().expect("SHA-256 has 32 bytes"))
    }

    fn line(&self, table: &Arc<Table>, line: Vec<u8>) {
        if self.lines.try_send((Arc::clone(table), line)).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }

    fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }
}

/// Whoever writes the file.
struct Writer {
    counts: Arc<Counts>,
    /// The tables that have come up, by name.
    known: Vec<String>,
    open: Option<Open>,
}

/// A file that is being written.
struct Open {
    file: File,
    said: Recording,
    bytes: u64,
    /// The tables that it has, by name.
    tables: Vec<String>,
    /// Whether its last line has no end: the disk was full then.
    is_torn: bool,
    /// Whether it was said that some lines can never have room.
    is_told: bool,
}

/// Ends a line that was cut. However whole it looks, whoever reads it sees that it is not.
const TORN: &[u8] = b" cut\n";

impl Writer {
    fn run(&mut self, queue: &Receiver<(Arc<Table>, Vec<u8>)>) {
        let mut piece = Vec::with_capacity(2 * PIECE_BYTES);
        while let Ok(first) = queue.recv() {
            let (mut table, mut count) = (Arc::clone(&first.0), 0);
            for (of, line) in std::iter::once(first).chain(queue.try_iter()) {
                if of.id != table.id || piece.len() >= PIECE_BYTES {
                    self.piece(&table, &mut piece, &mut count);
                    table = of;
                }
                piece.extend_from_slice(&line);
                piece.push(b'\n');
                count += 1;
            }
            self.piece(&table, &mut piece, &mut count);
        }
    }

    /// Writes what is there, or loses it.
    fn piece(&mut self, table: &Table, lines: &mut Vec<u8>, count: &mut u64) {
        if !self.known.contains(&table.id) {
            // Another configuration is served: perhaps it says another file, or somebody made room.
            self.known.truncate(TABLES_MAX - 1);
            self.known.insert(0, table.id.clone());
            self.open = Open::new(&table.said).map_err(|why| say(&why)).ok();
        }
        let done = self.open.as_mut().map(|open| open.write(table, lines));
        let tally = match done {
            Some(Ok(true)) => &self.counts.written,
            Some(Ok(false)) if table.said.when_full == WhenFull::Rotate => {
                let Recording { file, bytes_max, .. } = &table.said;
                let is_told = self.open.as_mut().map(|open| &mut open.is_told);
                if is_told.is_some_and(|is_told| !std::mem::replace(is_told, true)) {
                    say(&format!(
                        "lb-server: a file of {bytes_max} bytes is too small for what explains the record {} \
                         and its exchanges, which are lost; raise bytes_max and reload (SIGHUP)",
                        file.display()
                    ));
                }
                &self.counts.lost
            }
            Some(Ok(false)) => {
                let Recording { file, bytes_max, .. } = &table.said;
                let name = file.display();
                say(&format!(
                    "lb-server: the record {name} is full ({bytes_max} bytes): recording stops; move it away \
                     and reload (SIGHUP), raise bytes_max, or say when_full = \"rotate\""
                ));
                self.open = None;
                &self.counts.lost
            }
            Some(Err(error)) => {
                say(&format!(
                    "lb-server: {}; then reload (SIGHUP)",
                    cannot(&table.said.file, &error)
                ));
                self.open = None;
                &self.counts.lost
            }
            None => &self.counts.lost,
        };
        tally.fetch_add(*count, Ordering::Relaxed);
        (*count, _) = (0, lines.clear());
    }
}

impl Open {
    fn new(said: &Recording) -> Result<Self, String> {
        let opened = append(&said.file).and_then(|file| {
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        });
        let (file, bytes) =
            opened.map_err(|error| format!("lb-server: {}", cannot(&said.file, &error)))?;
        let is_torn = bytes > 0 && !ends_a_line(&said.file);
        Ok(Self { file, said: said.clone(), bytes, tables: Vec::new(), is_torn, is_told: false })
    }

    /// Writes a piece; `false`: there is no room for it, and where the file is to rotate, not in another
    /// either.
    fn write(&mut self, table: &Table, lines: &[u8]) -> io::Result<bool> {
        let mut piece = self.begin(table);
        if self.bytes + (piece.len() + lines.len()) as u64 > self.said.bytes_max {
            let in_another = (table.head.len() + 1 + lines.len()) as u64;
            if self.said.when_full == WhenFull::Stop || in_another > self.said.bytes_max {
                return Ok(false);
            }
            fs::rename(&self.said.file, before(&self.said.file))?;
            (self.file, self.bytes) = (append(&self.said.file)?, 0);
            self.tables.clear();
            self.is_torn = false;
            piece = self.begin(table);
        }
        piece.extend_from_slice(lines);
        // In one call, so that what another process appends comes before or after it.
        self.file.write_all(&piece)?;
        self.bytes += piece.len() as u64;
        self.is_torn = false;
        if !self.tables.contains(&table.id) {
            self.tables.truncate(TABLES_MAX - 1);
            self.tables.insert(0, table.id.clone());
        }
        Ok(true)
    }

    /// What a piece begins with.
    fn begin(&self, table: &Table) -> Vec<u8> {
        let torn = if self.is_torn { TORN } else { b"" };
        let table = match self.tables.contains(&table.id) {
            true => format!("@{}\n", table.id),
            false => format!("{}\n", table.head),
        };
        [torn, table.as_bytes()].concat()
    }
}

/// Whether the last line of a file has an end. Of one that may not be read nothing is known.
fn ends_a_line(file: &Path) -> bool {
    let mut last = [b'\n'];
    let read = File::open(file).and_then(|mut file| {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)
    });
    read.is_err() || last == *b"\n"
}

/// The name of the file that was full.
fn before(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(file: &Path, when_full: WhenFull) -> Table {
        let said = Recording { file: file.to_owned(), bytes_max: 64, when_full };
        Table { said, id: "0123456789abcdef".to_owned(), head: "{\"lb_record\":1}".to_owned() }
    }

    /// A file of its own, which is not there yet.
    fn fresh(name: &str) -> PathBuf {
        let file = std::env::temp_dir().join(format!("{name}-{}.lb", std::process::id()));
        for old in [&file, &before(&file)] {
            let _none = fs::remove_file(old);
        }
        file
    }

    fn read(file: &Path) -> String {
        fs::read_to_string(file).unwrap()
    }

    #[test]
    fn a_full_record_stops_and_never_has_more_than_it_may() {
        let file = fresh("stops");
        let table = table(&file, WhenFull::Stop);
        let mut open = Open::new(&table.said).unwrap();
        assert!(open.write(&table, b"1 0 s - 200 c 1 0 0 -\n").unwrap());
        assert!(!open.write(&table, b"2 0 s - 200 c 1 0 0 -\n").unwrap());
        assert_eq!(read(&file), "{\"lb_record\":1}\n1 0 s - 200 c 1 0 0 -\n");
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_record_that_rotates_keeps_the_one_before_and_each_explains_itself() {
        let file = fresh("rotates");
        let table = table(&file, WhenFull::Rotate);
        let mut open = Open::new(&table.said).unwrap();
        for nth in 1..=4 {
            let line = format!("{nth} 0 s - 200 c 1 0 0 -\n");
            assert!(open.write(&table, line.as_bytes()).unwrap());
        }
        let of = |nth| format!("{{\"lb_record\":1}}\n{nth} 0 s - 200 c 1 0 0 -\n");
        assert_eq!((read(&before(&file)), read(&file)), (of(3), of(4)));
        [before(&file), file].iter().for_each(|file| fs::remove_file(file).unwrap());
    }

    #[test]
    fn a_table_that_fills_a_file_costs_its_exchanges_and_no_file() {
        let file = fresh("narrow");
        let mut table = table(&file, WhenFull::Rotate);
        let mut open = Open::new(&table.said).unwrap();
        assert!(open.write(&table, b"1\n").unwrap());
        table = Table { id: "wide".to_owned(), head: "x".repeat(63), ..table };
        for _ in 0..2 {
            assert!(!open.write(&table, b"2\n").unwrap(), "63 and 1 and 2 are more than 64");
        }
        assert_eq!(read(&file), "{\"lb_record\":1}\n1\n");
        assert!(!before(&file).exists());
        // They are counted as what they are.
        let counts = Arc::new(Counts::default());
        let known = vec![table.id.clone()];
        let mut writer = Writer { counts: Arc::clone(&counts), known, open: Some(open) };
        let (mut lines, mut count) = (b"3\n".to_vec(), 1);
        writer.piece(&table, &mut lines, &mut count);
        let counted = [&counts.written, &counts.lost].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counted, [0, 1]);
        assert!(writer.open.is_some_and(|open| open.is_told));
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_line_that_a_full_disk_cut_is_ended_before_the_next() {
        let file = fresh("torn");
        let mut table = table(&file, WhenFull::Stop);
        table.said.bytes_max = 1_000;
        fs::write(&file, "{\"lb_record\":1}\n1 0 s - 200 c 1 0 0 0:200:1:23").unwrap();
        let mut open = Open::new(&table.said).unwrap();
        assert!(open.write(&table, b"2\n").unwrap() && open.write(&table, b"3\n").unwrap());
        let torn = "{\"lb_record\":1}\n1 0 s - 200 c 1 0 0 0:200:1:23 cut\n";
        let after = "{\"lb_record\":1}\n2\n@0123456789abcdef\n3\n";
        assert_eq!(read(&file), format!("{torn}{after}"));
        assert_eq!(open.bytes, fs::metadata(&file).unwrap().len());
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_table_is_written_once_and_named_after_that() {
        let file = fresh("tables");
        let mut table = table(&file, WhenFull::Stop);
        table.said.bytes_max = 1_000;
        let mut open = Open::new(&table.said).unwrap();
        assert!(open.write(&table, b"1\n").unwrap() && open.write(&table, b"2\n").unwrap());
        assert_eq!(read(&file), "{\"lb_record\":1}\n1\n@0123456789abcdef\n2\n");
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_key_is_veiled_the_same_within_a_process_and_otherwise_in_another() {
        let [one, other] = [open().unwrap().0, open().unwrap().0];
        assert_eq!(one.veil(7), one.veil(7));
        assert_ne!(one.veil(7), one.veil(8));
        assert_ne!(one.veil(7), other.veil(7));
    }
}
