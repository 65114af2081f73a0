//! Pages: what a run, a check, a comparison or a map came to, as one HTML file that needs nothing else.
//!
//! A page loads nothing and runs nothing, and says so to the browser in its first lines (a policy of
//! `default-src 'none'`): it opens from disk, in a mail, from an archive, and a name in a scenario that looks
//! like markup is a name. Pictures are geometry in SVG; every word is HTML, so that a narrow screen narrows
//! the pictures and not the words. Colours are never alone: a state has a pattern and a name too, and under
//! every picture there are its numbers.
//!
//! Nothing is reckoned here that is reckoned elsewhere: numbers are [`Facts`](crate::measure::Facts)', states
//! the [`Ledger`](crate::ledger::Ledger)'s, judgements the [`Verdict`](crate::Verdict)'s. A page of the same
//! run is the same bytes: there is no date on it.
//!
//! Read `run` first, then `timeline`.

mod run;
pub mod check;
pub mod diff;
pub mod map;
mod timeline;
mod heatmap;
mod strips;
mod numbers;
mod scene;
mod history;
mod standing;
mod axis;
mod chart;
mod words;

pub use run::Played;

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// What pages look like.
const STYLE: &str = include_str!("style.css");
/// Nothing is fetched, nothing is run, and no form is sent anywhere.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A whole page. `kind` is what it is about, in a word or two.
fn document(title: &str, kind: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(concat!("lb-sim ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.plate { b { "lb-sim" } span { (kind) } }
                main { (body) }
            }
        }
    };
    page.into_string()
}

/// The command that makes what a page shows again.
fn again(command: &str) -> Markup {
    html! { p.again { span { "again" } code { (command) } } }
}
