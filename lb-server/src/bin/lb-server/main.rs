//! The binary: what was asked for on the command line, and the life of the process.

mod access;
mod cli;
mod control;
mod demo;
mod descriptors;
mod memory;
mod notices;
mod patient;
mod process;
mod record;
mod signals;
mod supervisor;
mod upgrade;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use lb_config::{Config, Diagnostic, Source, load};
use lb_server::platform::os::Os;
use lb_server::platform::os::inheritance::Inheritance;
use lb_server::{Gateway, Listeners};
use nix::unistd::{AccessFlags, access};

use cli::{Asked, Cli};
pub(crate) use notices::say;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let asked = Cli::parse().asked();
    let _written = notices::LastWords;
    let done = match asked {
        Asked::Check(file) => check(&file),
        Asked::Serve(file) => begin().and_then(|inheritance| {
            let config = read(&file)?;
            process::serve(config, Some(file), inheritance, |_| {})
        }),
        Asked::Demo { listen, admin } => {
            begin().and_then(|inheritance| demo::serve(listen, admin, inheritance))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            say(&complaint);
            ExitCode::FAILURE
        }
    }
}

/// Begins what lasts. Returns what was open before this process began, which is asked for before there
/// are threads.
fn begin() -> Result<Inheritance, String> {
    let inheritance = Inheritance::from_environment()
        .map_err(|error| format!("cannot use what was inherited (LISTEN_FDS): {error}"))?;
    signals::hold(notices::open).map_err(|error| format!("cannot start: {error}"))?;
    Ok(inheritance)
}

fn check(file: &Path) -> Result<(), String> {
    let config = read(file)?;
    let backends: usize = config.services.iter().map(|service| service.origins.len()).sum();
    let (name, services) = (file.display(), config.services.len());
    // Its certificates as well: what cannot be served is not ok.
    let gateway = Gateway::new(Arc::new(Os::new()), config, Listeners::default());
    let gateway = gateway.map_err(|error| error.to_string())?;
    gateway.snapshot().warnings().iter().for_each(|warning| say(warning));
    can_write(gateway.snapshot().config())?;
    say(&format!(
        "{name}: ok ({}, {})",
        counted(services, "service"),
        counted(backends, "backend")
    ));
    Ok(())
}

/// Whether the files that a configuration has written can be, as far as can be told without writing them.
fn can_write(config: &Config) -> Result<(), String> {
    let state = config.state.as_ref().map(|state| ("[state]", &state.file));
    let record = config.record.as_ref().map(|record| ("[record]", &record.file));
    for (table, file) in state.into_iter().chain(record) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let is_there = if file.exists() { file } else { folder };
        access(is_there, AccessFlags::W_OK).map_err(|error| {
            format!(
                "{table} file {}: cannot be written: {error}; name one in a folder that exists and that this \
                 user may write to",
                file.display()
            )
        })?;
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Reads a configuration, and says what is wrong or doubtful in it.
fn read(file: &Path) -> Result<Config, String> {
    let name = file.display().to_string();
    let text = lb_config::text(&name, fs::read(file))?;
    configuration(&Source { name: &name, text: &text })
}

fn configuration(source: &Source<'_>) -> Result<Config, String> {
    let (config, diagnostics) = load(source);
    let lines: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
    match config {
        None => Err(lines.join("\n")),
        Some(config) => {
            lines.iter().for_each(|warning| say(warning));
            Ok(config)
        }
    }
}
