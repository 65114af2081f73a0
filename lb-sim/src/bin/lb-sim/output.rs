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

/// A file that is there, and that has in it what it had until it is written. One that was not there
/// before is gone again if nobody writes it.
pub(crate) struct Output {
    path: PathBuf,
    file: File,
    is_empty_handed: bool,
}

impl Output {
    /// Opens a file, if there is to be one, and it is none of those that are `taken`.
    pub(crate) fn open(path: Option<&PathBuf>, taken: &[&Path]) -> Result<Option<Self>, String> {
        let open = |path: &PathBuf| {
            let same = |other: &&Path| match (path.canonicalize(), other.canonicalize()) {
                (Ok(one), Ok(other)) => one == other && one.is_file(),
                _ => false,
            };
            if taken.iter().any(same) {
                let name = path.display();
                return Err(format!("{name}: is read or written already; name another file"));
            }
            let made = OpenOptions::new().create_new(true).append(true).open(path);
            let is_empty_handed = made.is_ok();
            let opened = made.or_else(|_| OpenOptions::new().create(true).append(true).open(path));
            let file = opened.map_err(|error| complaint(path, &error))?;
            Ok(Self { path: path.clone(), file, is_empty_handed })
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
        let place = self.path.canonicalize().map_err(said)?;
        if !place.is_file() {
            return self.file.write_all(text.as_bytes()).map_err(said); // such as /dev/null
        }
        let mut beside = place.clone().into_os_string();
        beside.push(".new");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &place)).map_err(said)?;
        self.is_empty_handed = false;
        Ok(())
    }

    /// Writes all of it.
    pub(crate) fn write(mut self, text: &str) -> Result<(), String> {
        // What is no file, such as /dev/null, has no length.
        let is_file = self.file.metadata().is_ok_and(|it| it.is_file());
        let emptied = if is_file { self.file.set_len(0) } else { Ok(()) };
        let written = emptied.and_then(|()| self.file.write_all(text.as_bytes()));
        self.is_empty_handed &= written.is_err();
        written.map_err(|error| complaint(&self.path, &error))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_empty_handed {
            // What cannot be removed stays, and says nothing wrong.
            let _kept = fs::remove_file(&self.path);
        }
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
