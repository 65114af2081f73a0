//! Scenarios as they lie in folders.

use std::fs;
use std::path::{Path, PathBuf};

use lb_config::Source;

use super::{Scenario, load};

/// The scenario in a file, and what it is warned of.
///
/// # Errors
/// All that is wrong with it, each with its place.
pub fn read(file: &Path) -> Result<(Scenario, Vec<String>), String> {
    let name = file.display().to_string();
    let text = lb_config::text(&name, fs::read(file))?;
    let (scenario, diagnostics) = load(&Source { name: &name, text: &text });
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    match scenario {
        Some(scenario) => Ok((scenario, lines)),
        None if Kind::of(&text) == Some(Kind::Configuration) => Err(format!(
            "{name}: is a configuration of lb-server, and no scenario; lb-sim check {name} rehearses it"
        )),
        None => Err(lines.join("\n")),
    }
}

/// What a file of ours is, whatever is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What lb-server is told.
    Configuration,
    /// A world, and what is expected of the proxy in it.
    Scenario,
}

impl Kind {
    /// By the tables that only one of them has.
    pub fn of(text: &str) -> Option<Self> {
        let root: toml::Table = text.parse().ok()?;
        let has = |names: &[&str]| names.iter().any(|name| root.contains_key(*name));
        match (has(&["listener", "service"]), has(&["config", "origin", "workload"])) {
            (true, false) => Some(Self::Configuration),
            (false, true) => Some(Self::Scenario),
            _ => None,
        }
    }
}

/// All scenario files below a folder, or the one file, in order of their names.
///
/// # Errors
/// What cannot be read, or that there is none.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let name = folder.display().to_string();
        let said = |error| lb_config::unreadable(&name, &error);
        for entry in fs::read_dir(&folder).map_err(said)? {
            let entry = entry.map_err(said)?.path();
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "toml") {
                found.push(entry);
            }
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(format!("{}: there is no scenario (*.toml) here", path.display())),
        false => Ok(found),
    }
}
