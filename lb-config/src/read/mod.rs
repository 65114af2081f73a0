//! A typed reader of TOML tables that forgets nothing.
//!
//! Deserialising into a struct stops at the first mistake, loses the place of every value that
//! turns out to be wrong later, and reads fields that nothing looks at. Here a field is asked for by
//! name, where it is used; the table remembers what was asked for, and when it is dropped it reports
//! every key that nobody asked for. So a key is accepted if and only if some code reads it, and
//! "did you mean" always knows all the names.
//!
//! ```
//! use std::time::Duration;
//! use lb_config::{Source, read::Document};
//!
//! let text = "name = \"calm\"\nrate = 50\ntimeuot = \"2s\"\n\n[[fault]]\nfrom = 3\n";
//! let document = Document::parse(&Source { name: "s.toml", text });
//! let mut root = document.root();
//! let name = root.text("name").required("name = \"calm\"");
//! let rate = root.integer("rate", 1..=1_000_u32).or(10);
//! let timeout = root.duration("timeout", Duration::ZERO..=Duration::from_secs(60));
//! let timeout = timeout.or(Duration::from_secs(5));
//! for mut fault in root.tables("fault").or(Vec::new()) {
//!     let _from = fault.duration("from", Duration::ZERO..=Duration::from_secs(60)).required("from = \"3s\"");
//! }
//! drop(root); // unknown keys are reported here
//!
//! let (value, diagnostics) = document.finish(name.map(|name| (name.value, rate, timeout)));
//! assert!(value.is_none());
//! let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
//! assert_eq!(lines, [
//!     "s.toml:3:1: unknown key timeuot at the top of the file; did you mean timeout?",
//!     "s.toml:6:8: from 3 has no unit; write \"3s\"",
//! ]);
//! ```
//!
//! A wrong value is reported where it is read and then treated as if it were absent, so the caller
//! goes on with a default and finds the other mistakes; [`Document::finish`] makes nothing of a
//! document with an error, so such a default never gets out.

mod document;
mod json;
pub(crate) mod shape;
mod field;
mod suggest;
mod table;
mod value;

pub use document::Document;
pub use field::{Field, Given};
pub use shape::Shape;
pub use table::Table;
pub use value::{Mistake, Value};
