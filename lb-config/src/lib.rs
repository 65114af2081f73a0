//! What was asked for: configuration files read into one validated [`Config`].
//!
//! Reading is pure. The caller brings the text and gets back a configuration, or all the mistakes
//! in it at once, each with its place and what to write instead; nothing here opens a file, reads
//! the environment or knows what time it is. One error and there is no configuration at all: half
//! of a configuration would send traffic where nobody wanted it.
//!
//! ```
//! use lb_config::{Source, load};
//!
//! let text = r#"
//!     [[listener]]
//!     bind = "0.0.0.0:8080"
//!
//!     [[service]]
//!     name = "web"
//!     hosts = ["*"]
//!
//!     [[service.pool]]
//!     backends = [{ url = "http://10.0.0.1:3000" }, { url = "http://10.0.0.2:3000" }]
//! "#;
//! let (config, diagnostics) = load(&Source { name: "lb.toml", text });
//! assert!(diagnostics.is_empty());
//! assert_eq!(config.expect("no error, so a configuration").services[0].origins.len(), 2);
//!
//! let mistyped = text.replace("hosts", "host_names");
//! let (config, diagnostics) = load(&Source { name: "lb.toml", text: &mistyped });
//! assert!(config.is_none(), "an error leaves nothing to run with");
//! assert_eq!(diagnostics.len(), 2, "hosts is missing, and host_names is unknown");
//! ```
//!
//! # Reading order
//!
//! - [`config`]: what comes out, and what its holder may trust.
//! - [`native`](load): one file per idea of the native format. A field is read there if and only if
//!   it has an effect.
//! - [`read`]: the typed reader of TOML tables that the native format is written with. Scenario
//!   files are read with it too, so that their mistakes look the same.
//! - [`diagnostic`]: places, and the report that collects mistakes.
//! - [`quantity`], [`address`]: durations and sizes, hosts and urls, as text.
//! - [`text()`]: why a file that its reader opened is no text, in words.
//!
//! Not here: defaults that depend on the machine (one worker per core is `None`, and the server
//! counts the cores), and whether an address can be bound or a name resolved.

pub mod config;
mod native;
pub mod read;

pub mod address;
pub mod diagnostic;
pub mod quantity;
mod text;

pub use config::Config;
pub use diagnostic::{Diagnostic, Place, Severity};
pub use text::{text, unreadable};

/// A file's text, and what to call it in diagnostics.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// What diagnostics start with: usually the path as the user typed it.
    pub name: &'s str,
    /// All of it.
    pub text: &'s str,
}

/// Reads a file in the native format.
///
/// Diagnostics come in the order of the file. There is a configuration exactly if none of them is
/// an error; warnings do not prevent it.
pub fn load(source: &Source<'_>) -> (Option<Config>, Vec<Diagnostic>) {
    let document = read::Document::parse(source);
    let config = load_table(document.root());
    document.finish(config)
}

/// What [`load`] asks of a document like this one: merged over documents that say everything, it is the
/// schema of the format.
pub fn shape(source: &Source<'_>) -> read::Shape {
    let document = read::Document::parse(source).noting();
    let _config = load_table(document.root());
    document.into_shape()
}

/// Reads a list of backends, as a pool with `discover = { file = ".." }` asks for: `backends` with what
/// [`load`] reads of each in a pool. In JSON the array may stand alone.
///
/// ```
/// use lb_config::{Source, config::Format, load_backends};
///
/// let text = r#"[{ "url": "http://10.0.0.1:3000", "weight": 3 }, { "url": "http://10.0.0.2" }]"#;
/// let (found, diagnostics) = load_backends(&Source { name: "b.json", text }, Format::Json);
/// assert!(diagnostics.is_empty());
/// assert_eq!(found.expect("no error")[1].backend.name, "http://10.0.0.2:80");
///
/// let text = text.replace("weight", "wieght");
/// let (found, diagnostics) = load_backends(&Source { name: "b.json", text: &text }, Format::Json);
/// assert!(found.is_none());
/// let said = "b.json:1:35: unknown key wieght in [[backends]]; did you mean weight?";
/// assert_eq!(diagnostics[0].to_string(), said);
/// ```
pub fn load_backends(
    source: &Source<'_>,
    format: config::Format,
) -> (Option<Vec<config::Found>>, Vec<Diagnostic>) {
    let document = match format {
        config::Format::Toml => read::Document::parse(source),
        config::Format::Json => read::Document::parse_json(source, "backends"),
    };
    let found = native::found(document.root());
    document.finish(found)
}

/// Reads the native format from a table of a larger document, as when a scenario embeds the
/// configuration it rehearses under `[config]`. Diagnostics go to the document's report, with
/// places in its text; `None` says that there was at least one error.
///
/// ```
/// use lb_config::{Source, load_table, read::Document};
///
/// let text = r#"
/// seed = 7
///
/// [[config.listener]]
/// bind = "0.0.0.0:80"
///
/// [[config.service]]
/// name = "web"
/// hosts = ["*"]
/// pool = [{ backends = [{ url = "http://b1:80" }, { url = "http://b2:80", weight = 0 }] }]
/// "#;
/// let document = Document::parse(&Source { name: "partition.toml", text });
/// let mut scenario = document.root();
/// let seed = scenario.integer("seed", 0..=u64::MAX).or(1);
/// let config = load_table(scenario.table("config"));
/// drop(scenario); // a table reports unknown keys when it is dropped
///
/// let (_, diagnostics) = document.finish(config.map(|config| (seed, config)));
/// assert_eq!(
///     diagnostics[0].to_string(),
///     "partition.toml:10:82: weight 0 gets no traffic; remove the backend or use 1..=1000",
/// );
/// ```
pub fn load_table(table: read::Table<'_>) -> Option<Config> {
    native::config(table)
}
