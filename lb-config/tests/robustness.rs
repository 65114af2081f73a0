//! No text makes the reader panic, contradict itself or the core, or point outside the text.

use lb_config::{Severity, Source, load};
use lb_core::config::Action;
use lb_core::{Facts, Request, Router, Scheme};

/// A valid file with every kind of value.
const VALID: &str = r#"
[server]
workers = 2
drain_timeout = "1m30s"
header_bytes_max = "64KiB"
trusted_proxies = ["10.0.0.0/8", "::1"]
client_address = "forwarded"
[tracing]
enabled = true
endpoint = "http://[::1]:4318"
sample = 0.25
[admin]
bind = "127.0.0.1:9091"
[[listener]]
bind = "[::]:8080"
proxy_protocol = true
[[service]]
name = "web" # in été, to have more than ASCII
hosts = ["*.example.com", "Example.com"]
retry = { attempts_max = 2, statuses = [503], budget = { percent = 5 } }
[service.timeouts]
exchange = "2.5m"
[[service.pool]]
backends = [
  { url = "http://10.0.0.1:3000", weight = 3 },
  { url = "http://[::1]/" },
]
[[route]]
name = "user"
hosts = ["*.example.com", "*"]
path = "/users/{id}/{*rest}"
methods = ["GET"]
sources = ["10.0.0.0/8"]
headers = { x-a = true, x-b = { prefix = "b" } }
service = "web"
mirror = { service = "web", percent = 10 }
[route.request]
path = "/u/{id}{path}"
query = { set = { a = "{rest}" }, remove = ["b"] }
headers.set.x-c = "{{}} {client_ip}"
[[route]]
name = "old"
hosts = ["example.com"]
path_prefix = "/old"
redirect = { to = "https://{host}:8443/new{query}", status = 308 }
[https_redirect]
enabled = true
except = ["/a"]
"#;

/// What mutations insert: all that has a meaning to TOML or to one of the small formats.
const PIECES: [&str; 27] = [
    "",
    "\n",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "-",
    "0",
    "9999999999999999999999",
    "1e400",
    "nan",
    "é",
    "\u{0}",
    "\"\"\"",
    "://",
    "*",
    "[[service]]\n",
    "true",
    "[[route]]\n",
    "{id}",
    "%",
];

/// A small generator of numbers (xorshift64*), so that a failure is the same one every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let sides = u64::try_from(sides).expect("a usize fits");
        let drawn = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides;
        usize::try_from(drawn).expect("it is less than a usize")
    }
}

/// Replaces up to eight characters at a random place by a random piece, one to four times.
fn mutate(dice: &mut Dice) -> String {
    let mut characters: Vec<char> = VALID.chars().collect();
    for _ in 0..=dice.below(4) {
        let start = dice.below(characters.len());
        let end = (start + dice.below(9)).min(characters.len());
        characters.splice(start..end, PIECES[dice.below(PIECES.len())].chars());
    }
    characters.into_iter().collect()
}

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

fn check(text: &str) {
    let (config, diagnostics) = load(&Source { name: "lb.toml", text });
    let errors = diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(config.is_none(), errors, "a configuration exactly if there is no error: {text}");
    for (index, service) in (0..).zip(config.iter().flat_map(|config| &config.services)) {
        let built = lb_core::Service::new(&service.core, index, 0);
        assert!(built.is_ok(), "whatever loads has a meaning: {text}");
    }
    if let Some(config) = &config {
        let found = Router::new(&config.routing).find(&Get).and_then(|found| found.place());
        assert!(found.is_none_or(|place| place < config.routing.routes.len()), "it works: {text}");
        for route in &config.routing.routes {
            let Action::Service(place) = route.action else { continue };
            assert!(usize::from(place) < config.services.len(), "it leads somewhere: {text}");
        }
    }
    assert!(diagnostics.is_sorted_by_key(|found| &found.place), "in order: {text}");
    for found in diagnostics {
        let line = text.split('\n').nth(found.place.line - 1).expect("a line of the text");
        assert!(found.place.column >= 1, "columns count from 1");
        assert!(found.place.column <= line.chars().count() + 1, "a column of the line: {found}");
        assert!(!found.remedy.is_empty(), "every mistake has a remedy: {found}");
        assert!(!found.to_string().contains('\n'), "a diagnostic is one line: {found}");
    }
}

#[test]
fn mutations_of_a_valid_file_are_read_or_refused() {
    let mut dice = Dice(0x1B);
    for _ in 0..4_000 {
        check(&mutate(&mut dice));
    }
}

#[test]
fn every_prefix_of_a_valid_file_is_read_or_refused() {
    for (end, _) in VALID.char_indices() {
        check(&VALID[..end]);
    }
}

#[test]
fn deep_nesting_is_refused() {
    check(&format!("a = {}", "[".repeat(10_000)));
    check(&format!("a = {}", "{ a = ".repeat(10_000)));
    check(&"a.".repeat(10_000));
}
