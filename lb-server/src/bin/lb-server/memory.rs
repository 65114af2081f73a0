//! What was learned outlives the process: in a file (`[state]`), or told to whoever takes its place.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use lb_config::config::State;
use lb_config::quantity::show_duration;
use lb_server::Gateway;
use lb_server::platform::os::inheritance::Predecessor;
use lb_server::state::{Remembered, STATE_BYTES_MAX, Unusable, load, save};

use crate::{counted, say};

/// How often it is asked whether there is a file by now, while there is none.
const NO_FILE: Duration = Duration::from_secs(1);

/// Begins with what the process before learned, if there is anything to begin with: what it tells by itself,
/// or else the file that it left. Whatever is wrong with either is told and nothing more.
pub(crate) fn recall(gateway: &Gateway, predecessor: Option<&mut Predecessor>) {
    let told = predecessor.map(|it| {
        let learned = it.learned().map_err(|error| error.to_string())?;
        load(&learned, gateway.unix_time(), State::MAX_AGE).map_err(|why| why.to_string())
    });
    match told {
        Some(Ok(remembered)) => {
            let known = begin_with(gateway, remembered);
            say(&format!("lb-server: {known} are remembered by the process before"));
        }
        Some(Err(why)) => {
            say(&format!("lb-server: warning: what the process before has learned {why}"));
            recall_file(gateway);
        }
        None => recall_file(gateway),
    }
}

/// Says what it begins with.
fn begin_with(gateway: &Gateway, remembered: Remembered) -> String {
    let lists = counted(remembered.lists(), "list");
    let backends = counted(gateway.recall(remembered), "backend");
    format!("{backends} and {lists}")
}

fn recall_file(gateway: &Gateway) {
    let snapshot = gateway.snapshot();
    let Some(State { file, max_age, .. }) = &snapshot.config().state else { return };
    let bytes = match read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return doubt(file, &error.to_string()),
    };
    match load(&bytes, gateway.unix_time(), *max_age) {
        Ok(remembered) => {
            let away = show_duration(Duration::from_secs(remembered.away().as_secs()));
            let (file, known) = (file.display(), begin_with(gateway, remembered));
            say(&format!("lb-server: {file} is {away} old: {known} are remembered"));
        }
        Err(why) => {
            doubt(file, &why.to_string());
            // Somebody's own file may have been named by mistake: it is not written over.
            if why == Unusable::Foreign && !bytes.is_empty() {
                set_aside(file);
            }
        }
    }
}

fn doubt(file: &Path, why: &str) {
    let file = file.display();
    say(&format!("lb-server: warning: {file} {why}; the process begins without it"));
}

fn set_aside(file: &Path) {
    let aside = beside(file, "old");
    let (said, to) = (file.display(), aside.display());
    match fs::rename(file, &aside) {
        Ok(()) => say(&format!("lb-server: warning: {said} is now {to}")),
        Err(error) => say(&format!("lb-server: warning: {said} cannot become {to}: {error}")),
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(STATE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() {
        0..=STATE_BYTES_MAX => Ok(bytes),
        _ => Err(io::Error::other(format!("is longer than {STATE_BYTES_MAX} bytes"))),
    }
}

/// Whoever writes the file. Dropping it has it write once more, and end.
pub(crate) struct Keeper {
    begins: SyncSender<()>,
}

impl Keeper {
    /// Has it write from now on: the file is no other process's any more.
    pub(crate) fn begin(&self) {
        // One that has ended has panicked, which is told at the end.
        let _ended = self.begins.try_send(());
    }
}

/// Writes the file every now and then, on a thread of its own since a disk may take its time. It waits to be
/// told to begin.
pub(crate) fn keep(gateway: Arc<Gateway>) -> io::Result<(Keeper, JoinHandle<()>)> {
    let (begins, hear) = sync_channel(1);
    #[expect(clippy::disallowed_methods, reason = "writing a file through to the disk blocks")]
    let thread = Builder::new().name("state".to_owned()).spawn(move || run(&gateway, &hear))?;
    Ok((Keeper { begins }, thread))
}

fn run(gateway: &Gateway, hear: &Receiver<()>) {
    let mut failing = None;
    let mut goes_on = hear.recv().is_ok();
    while goes_on {
        let every = gateway.snapshot().config().state.as_ref().map_or(NO_FILE, |state| state.every);
        goes_on = hear.recv_timeout(every) != Err(RecvTimeoutError::Disconnected);
        if gateway.is_succeeded() {
            return; // the file is the successor's, who knows better by now
        }
        if let Some(state) = &gateway.snapshot().config().state {
            let failure = write(&state.file, &save(gateway)).err().map(|error| error.to_string());
            if let Some(why) = failure.as_ref().filter(|_| failure != failing) {
                let file = state.file.display();
                say(&format!("lb-server: warning: {file} cannot be written: {why}"));
            }
            gateway.state_written(failure.is_none());
            failing = failure;
        }
    }
}

/// Writes all of it beside its place and puts it there: whoever is killed leaves the old file or the new.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(file, "new");
    let mut out = File::create(&new)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    drop(out);
    fs::rename(&new, file)?;
    // The name is in the folder, which the disk may not have yet. Not all file systems can be told so.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let _untold = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The path with another ending after its own.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}
