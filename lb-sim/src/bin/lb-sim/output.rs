//! Standard output, and files that a command writes: these are opened before it begins, so that nobody
//! waits for what cannot be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Writes to standard output. Who closes it has read enough, as `head` does; anything else is an error,
/// since nobody is to take half a report for the whole.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: cannot be written: {error}"))
        }
        _ => Ok(()),
    }
}

/// A file that can be written, and that has in it what it had until it is. One that was not there before
/// is not there until then either, whatever ends the command before.
pub(crate) struct Output {
    path: PathBuf,
    /// What was there.
    there: Option<File>,
}

impl Output {
    /// Opens a file, if there is to be one, and it is none of those that are `taken`.
    pub(crate) fn open(path: Option<&PathBuf>, taken: &[&Path]) -> Result<Option<Self>, String> {
        let open = |path: &PathBuf| {
            let same = |other: &&Path| match (place(path), place(other)) {
                // What is no file, such as /dev/null, is there for everybody.
                (Some(one), Some(other)) => one == other && (one.is_file() || !one.exists()),
                _ => false,
            };
            if taken.iter().any(same) {
                let name = path.display();
                return Err(format!("{name}: is read or written already; name another file"));
            }
            let there = match OpenOptions::new().create_new(true).append(true).open(path) {
                Ok(_) => fs::remove_file(path).map(|()| None),
                Err(_) => OpenOptions::new().create(true).append(true).open(path).map(Some),
            };
            let there = there.map_err(|error| complaint(path, &error))?;
            Ok(Self { path: path.clone(), there })
        };
        path.map(open).transpose()
    }

    /// The same for what must not be written over.
    pub(crate) fn new_file(path: Option<&PathBuf>) -> Result<Option<Self>, String> {
        match path.filter(|path| path.is_file()) {
            Some(there) => Err(format!("{}: is there already; name another", there.display())),
            None => Self::open(path, &[]),
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts this in the place of what it has in it, all at once: who stops halfway loses nothing.
    pub(crate) fn replace(&mut self, text: &str) -> Result<(), String> {
        let said = |error| complaint(&self.path, &error);
        // A link stays one.
        let place = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        if let Some(device) = self.there.as_mut().filter(|_| !place.is_file()) {
            return device.write_all(text.as_bytes()).map_err(said); // such as /dev/null
        }
        let mut beside = place.clone().into_os_string();
        beside.push(".new");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &place)).map_err(said)
    }

    /// Writes all of it.
    pub(crate) fn write(mut self, text: &str) -> Result<(), String> {
        let Some(mut file) = self.there.take() else { return self.replace(text) };
        // What is no file, such as /dev/null, has no length.
        let is_file = file.metadata().is_ok_and(|it| it.is_file());
        let emptied = if is_file { file.set_len(0) } else { Ok(()) };
        let written = emptied.and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(|error| complaint(&self.path, &error))
    }
}

/// A folder that is there. One that was not there before is gone again if nobody puts anything into it.
pub(crate) struct Folder {
    path: PathBuf,
    is_new: bool,
}

impl Folder {
    /// Makes a folder, if there is to be one.
    pub(crate) fn open(path: Option<&PathBuf>) -> Result<Option<Self>, String> {
        let open = |path: &PathBuf| {
            let is_new = !path.exists();
            fs::create_dir_all(path).map_err(|error| match path.is_file() {
                true => format!("{}: is a file; name a folder", path.display()),
                false => complaint(path, &error),
            })?;
            Ok(Self { path: path.clone(), is_new })
        };
        path.map(open).transpose()
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_new {
            // One that has something in it cannot be removed, and stays.
            let _kept = fs::remove_dir(&self.path);
        }
    }
}

/// Where a file is, or will be.
fn place(path: &Path) -> Option<PathBuf> {
    let folder = || path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let to_be =
        || Some(folder().unwrap_or(Path::new(".")).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(to_be)
}

fn complaint(path: &Path, error: &Error) -> String {
    let name = path.display();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match (error.kind(), folder) {
        (ErrorKind::NotFound, Some(folder)) => {
            format!("{name}: there is no folder {}; make it first", folder.display())
        }
        (ErrorKind::IsADirectory, _) => format!("{name}: is a folder; name a file in it"),
        _ => format!("{name}: cannot be written: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_written_and_not_before() {
        let path = std::env::temp_dir().join(format!("lb-sim-output-{}", std::process::id()));
        let open =
            || Output::open(Some(&path), &[]).expect("it can be written").expect("it is one");
        let output = open();
        assert!(!path.exists(), "whoever ends the command now finds nothing half done");
        output.write("one").expect("nothing is in its way");
        let output = open();
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "one");
        output.write("2").expect("nothing is in its way");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "2");
        fs::remove_file(&path).expect("it is there");
    }
}
