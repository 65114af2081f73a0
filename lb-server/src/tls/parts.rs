//! What is served is made in parts, each of files of its own: a pair, or a list of authorities. A file
//! that changes renews its part and no other, and one that is bad keeps nobody from being renewed.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use super::files::{Contents, Files, Fingerprint, Loaded, Problem};
use super::provider;

/// What was made of some files, and what was in them.
#[derive(Clone)]
pub(super) struct Part<T> {
    pub(super) fingerprint: Fingerprint,
    pub(super) value: T,
}

/// The parts of one listener or service while they are made.
pub(super) struct Making {
    contents: Contents,
    pub(super) provider: Arc<CryptoProvider>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// What became of a renewal: what is bad stays as it was, and stands in `problems`.
#[derive(Debug)]
pub struct Renewed<T> {
    /// What is to be served.
    pub value: T,
    /// What will probably disappoint somebody.
    pub warnings: Vec<Problem>,
    /// All that is wrong with files.
    pub problems: Vec<Problem>,
}

impl<T> Renewed<T> {
    /// All of it, if nothing is bad.
    pub(super) fn sound(self) -> Result<Loaded<T>, Vec<Problem>> {
        let Self { value, warnings, problems } = self;
        if problems.is_empty() { Ok(Loaded { value, warnings }) } else { Err(problems) }
    }
}

impl Making {
    /// Reads all files.
    pub(super) fn new<'p>(paths: impl Iterator<Item = &'p PathBuf>, files: &Files<'_>) -> Self {
        Self {
            contents: Contents::read(paths, files),
            provider: provider(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The part that is in the files at `paths`: the one `before` if they are the same, or bad.
    pub(super) fn part<T: Clone>(
        &mut self,
        paths: &[&PathBuf],
        before: Option<&Part<T>>,
        make: impl FnOnce(&Contents, &Arc<CryptoProvider>, &mut Vec<Problem>) -> Result<T, Problem>,
    ) -> Option<Part<T>> {
        let fingerprint = self.contents.fingerprint(paths);
        if let Some(same) = before.filter(|before| before.fingerprint == fingerprint) {
            return Some(same.clone());
        }
        match make(&self.contents, &self.provider, &mut self.warnings) {
            Ok(value) => Some(Part { fingerprint, value }),
            Err(problem) => {
                self.problems.push(problem);
                before.cloned()
            }
        }
    }

    /// What was made of the parts, if all of them are sound.
    pub(super) fn loaded<T>(self, made: impl FnOnce() -> T) -> Result<Loaded<T>, Vec<Problem>> {
        match self.problems.is_empty() {
            true => Ok(Loaded { value: made(), warnings: self.warnings }),
            false => Err(self.problems),
        }
    }

    /// What was made of the parts, sound or as before.
    pub(super) fn renewed<T>(self, value: T) -> Renewed<T> {
        Renewed { value, warnings: self.warnings, problems: self.problems }
    }
}
