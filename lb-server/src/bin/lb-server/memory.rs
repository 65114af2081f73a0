//! The file in which what was learned outlives the process (`[state]`).

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
use lb_server::state::{STATE_BYTES_MAX, Unusable, load, save};
use tokio::sync::oneshot;

use crate::{counted, say};

/// How often it is asked whether there is a file by now, while there is none.
const NO_FILE: Duration = Duration::from_secs(1);

/// Begins with what the process before learned, if there is anything to begin with. Whatever is wrong
/// with the file is told and nothing more.
pub(crate) fn recall(gateway: &Gateway) {
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
            let lists = counted(remembered.lists(), "list");
            let backends = counted(gateway.recall(remembered), "backend");
            let file = file.display();
            say(&format!("lb-server: {file} is {away} old: {backends} and {lists} are remembered"));
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
    told: SyncSender<oneshot::Sender<()>>,
}

impl Keeper {
    /// Has it write now. Says when that is done, or that it never will be.
    pub(crate) fn write(&self) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        // Whoever has not even begun with the last one hangs, and the disk with it.
        let _hangs = self.told.try_send(done);
        written
    }
}

/// Writes the file every now and then, on a thread of its own since a disk may take its time.
pub(crate) fn keep(gateway: Arc<Gateway>) -> io::Result<(Keeper, JoinHandle<()>)> {
    let (told, hear) = sync_channel(1);
    #[expect(clippy::disallowed_methods, reason = "writing a file through to the disk blocks")]
    let thread = Builder::new().name("state".to_owned()).spawn(move || run(&gateway, &hear))?;
    Ok((Keeper { told }, thread))
}

fn run(gateway: &Gateway, hear: &Receiver<oneshot::Sender<()>>) {
    let mut failing = None;
    loop {
        let every = gateway.snapshot().config().state.as_ref().map_or(NO_FILE, |state| state.every);
        let told = hear.recv_timeout(every);
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
        match told {
            // Nobody waits any more for what took too long.
            Ok(done) => drop(done.send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
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
