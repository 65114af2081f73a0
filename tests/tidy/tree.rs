//! The files of this repository as text, for rules that read instead of run.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file: where it is and what it says.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root of the repository, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// A file that is not there, for a rule to be tried on.
    pub(crate) fn sample(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    pub(crate) fn is(&self, suffix: &str) -> bool {
        self.path.ends_with(suffix)
    }

    /// Whether it is a test or a benchmark rather than a part of what ships.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "benches")
    }

    /// Lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// As [`File::lines`], without what is behind `//`. An address such as `http://…` stays.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().map(|(number, line)| (number, &line[..comment_start(line)]))
    }
}

/// Where in a line its comment begins, or the line's end.
fn comment_start(line: &str) -> usize {
    line.match_indices("//")
        .map(|(at, _)| at)
        .find(|at| !line[..*at].ends_with(':'))
        .unwrap_or(line.len())
}

/// Where the repository is.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository, in the order of their paths. What is built, hidden or not
/// UTF-8 is left out; `.ci` and `.cargo` are ours and stay.
pub(crate) fn files() -> Vec<File> {
    let mut found = Vec::new();
    collect(&root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 10, "the tree is not where it is looked for: {:?}", root());
    found
}

fn collect(dir: &Path, prefix: &str, found: &mut Vec<File>) {
    for entry in fs::read_dir(dir).expect("a directory of the repository can be read") {
        let entry = entry.expect("a directory of the repository can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') || [".ci", ".cargo", ".gitignore"].contains(&&*name);
        let is_built = (prefix.is_empty() && name.starts_with("target"))
            || (prefix == "fuzz/"
                && ["artifacts", "corpus", "coverage", "target"].contains(&&*name))
            || (prefix == "benches/proxy/" && ["tools", "venv"].contains(&&*name))
            || (prefix.starts_with("benches/proxy/") && name == "target");
        if !is_ours || is_built {
            continue;
        }
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("an entry has a type");
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_file()
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push(File { path, text });
        }
    }
}

/// What one file says, by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What one TOML file says, by its path from the root.
pub(crate) fn read_toml(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}
