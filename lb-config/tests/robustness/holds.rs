//! What holds for any text that is read as a configuration or as a list of backends.

use lb_config::config::Format;
use lb_config::{Diagnostic, Severity, Source, load, load_backends};
use lb_core::config::Action;
use lb_core::{Facts, Request, Router, Scheme};

/// A request that a route may take.
struct Get;

impl Facts for Get {
    fn client(&self) -> Option<std::net::IpAddr> {
        Some([10, 0, 0, 1].into())
    }

    fn header(&self, _name: &str) -> Option<&[u8]> {
        Some(b"b")
    }

    fn path(&self) -> &'static str {
        "/users/7/x"
    }

    fn query(&self) -> Option<&str> {
        None
    }
}

impl Request for Get {
    fn method(&self) -> &'static str {
        "GET"
    }

    fn host(&self) -> &'static str {
        "a.example.com"
    }

    fn scheme(&self) -> Scheme {
        Scheme::Https
    }
}

/// Reads `text` as a configuration.
pub(crate) fn check(text: &str) {
    let (config, diagnostics) = load(&Source { name: "lb.toml", text });
    let errors = diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(config.is_none(), errors, "a configuration exactly if there is no error: {text}");
    for (index, service) in (0..).zip(config.iter().flat_map(|config| &config.services)) {
        let built = lb_core::Service::new(&service.core, index, 0);
        assert!(built.is_ok(), "whatever loads has a meaning: {text}");
    }
    if let Some(config) = &config {
        let found = Router::new(&config.routing).find(&Get).ok().and_then(|found| found.place());
        assert!(found.is_none_or(|place| place < config.routing.routes.len()), "it works: {text}");
        for route in &config.routing.routes {
            let Action::Service(place) = route.action else { continue };
            assert!(usize::from(place) < config.services.len(), "it leads somewhere: {text}");
        }
    }
    places_are_of(text, diagnostics);
}

/// Reads `text` as a list of backends, in both formats.
pub(crate) fn check_backends(text: &str) {
    for format in [Format::Toml, Format::Json] {
        let (found, diagnostics) = load_backends(&Source { name: "list", text }, format);
        let errors = diagnostics.iter().any(|found| found.severity == Severity::Error);
        assert_eq!(found.is_none(), errors, "a list exactly if there is no error: {text}");
        for found in found.into_iter().flatten() {
            assert!(!found.backend.name.is_empty(), "whoever is found has a name: {text}");
        }
        places_are_of(text, diagnostics);
    }
}

fn places_are_of(text: &str, diagnostics: Vec<Diagnostic>) {
    assert!(diagnostics.is_sorted_by_key(|found| &found.place), "in order: {text}");
    for found in diagnostics {
        let line = text.split('\n').nth(found.place.line - 1).expect("a line of the text");
        assert!(found.place.column >= 1, "columns count from 1");
        assert!(found.place.column <= line.chars().count() + 1, "a column of the line: {found}");
        assert!(!found.remedy.is_empty(), "every mistake has a remedy: {found}");
        assert!(!found.to_string().contains('\n'), "a diagnostic is one line: {found}");
    }
}
