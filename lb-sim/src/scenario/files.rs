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
    let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let (scenario, diagnostics) = load(&Source { name: &name, text: &text });
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    match scenario {
        Some(scenario) => Ok((scenario, lines)),
        None => Err(lines.join("\n")),
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
        let said = |error: std::io::Error| format!("{}: {error}", folder.display());
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
