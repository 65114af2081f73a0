//! What was learned outlives the process: one is killed, and the next begins where it ended.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use crate::process::{Process, ask, file, get, kill};
use crate::upgrade::{Last, upgrade};

/// A backend on a thread of its own, which ends with the test.
#[derive(Clone)]
struct Backend {
    addr: SocketAddr,
    name: &'static str,
    status: u16,
    takes: Duration,
    requests: Arc<AtomicUsize>,
    /// Whether it leaves checks unanswered.
    is_mute: Arc<AtomicBool>,
}

impl Backend {
    #[expect(clippy::disallowed_methods, reason = "a backend is outside of the proxy")]
    fn start(name: &'static str, status: u16, takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (requests, is_mute) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let backend = Self { addr, name, status, takes, requests, is_mute };
        let this = backend.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                thread::spawn(move || this.answer(&stream));
            }
        });
        backend
    }

    fn answer(&self, mut stream: &TcpStream) {
        let head: Vec<String> = BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .take_while(|it| !it.is_empty())
            .collect();
        let is_check = head.first().is_some_and(|line| line.contains("/health"));
        if is_check && self.is_mute.load(Ordering::SeqCst) {
            // Until whoever asked gives up.
            let _gone = stream.read(&mut [0]);
            return;
        }
        if !is_check {
            self.requests.fetch_add(1, Ordering::SeqCst);
        }
        if !self.takes.is_zero() {
            // Nobody ever says anything: it takes as long as nobody does.
            let (_nobody, nothing) = sync_channel::<()>(1);
            let _late = nothing.recv_timeout(self.takes);
        }
        let (status, name, length) = (self.status, self.name, self.name.len());
        let answer = format!(
            "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{name}"
        );
        let _gone = stream.write_all(answer.as_bytes());
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// One service with a backend that is ill, and one with a slow backend before a quick one.
struct World {
    ill: Backend,
    good: Backend,
    slow: Backend,
    quick: Backend,
    state: String,
    config: String,
}

impl World {
    fn new(name: &str) -> Self {
        let [ill, good] = [("ill", 503), ("good", 200)]
            .map(|(name, status)| Backend::start(name, status, Duration::ZERO));
        let slow = Backend::start("slow", 200, Duration::from_millis(60));
        let quick = Backend::start("quick", 200, Duration::ZERO);
        let state = absent(&format!("{name}.state"));
        let [a, b, c, d] = [&ill, &good, &slow, &quick].map(|backend| backend.addr);
        let text = format!(
            r#"
[server]
workers = 2
[admin]
bind = "127.0.0.1:0"
[state]
file = "{state}"
every = "100ms"
[[listener]]
bind = "127.0.0.1:0"
[[service]]
name = "ills"
hosts = ["ills.test"]
balance = {{ policy = "round-robin" }}
breaker = {{ consecutive_failures = 2, open_for = "5m" }}
pool = [{{ backends = [{{ url = "http://{a}" }}, {{ url = "http://{b}" }}] }}]
[[service]]
name = "quick"
hosts = ["quick.test"]
balance = {{ policy = "fastest" }}
health = {{ enabled = true, path = "/health", interval = "1h" }}
pool = [{{ backends = [{{ url = "http://{c}" }}, {{ url = "http://{d}" }}] }}]
"#
        );
        let config = file(&format!("{name}.toml"), &text);
        Self { ill, good, slow, quick, state, config }
    }

    fn start(&self) -> Running {
        let (mut process, mut said, proxy) = start(&self.config);
        said.push_str(&process.says("admin at http://"));
        let admin = said.trim_end().rsplit_once("http://").unwrap().1.parse().unwrap();
        Running { process, said, proxy, admin }
    }

    /// Runs a process until what it learned is written down, and kills it.
    fn learn(&self) {
        let mut first = self.start();
        assert!(!first.said.contains("remembered"), "{}", first.said);
        for _ in 0..4 {
            assert_eq!(first.ask("ills.test"), "good");
        }
        assert_eq!(self.ill.requests(), 2, "then its breaker opened");
        while first.ask("quick.test") != "quick" {}
        let written = || fs::read_to_string(&self.state).unwrap_or_default();
        while !(written().contains("\"open\"") && written().matches("\"check\"").count() == 2) {
            thread::yield_now();
        }
        first.process.child.kill().unwrap();
        first.process.child.wait().unwrap();
    }

    /// A process that begins without what was learned, and what it says about it.
    fn starts_clean(&self) -> String {
        let before = self.ill.requests();
        let clean = self.start();
        assert!(!clean.said.contains("remembered"), "{}", clean.said);
        for _ in 0..4 {
            assert_eq!(clean.ask("ills.test"), "good");
        }
        assert_eq!(self.ill.requests(), before + 2, "it finds out by itself");
        let said = clean.said.clone();
        clean.process.finish();
        assert!(fs::read_to_string(&self.state).unwrap().starts_with("{\"lb-state\":1,"));
        said
    }
}

struct Running {
    process: Process,
    /// What it said before it served.
    said: String,
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl Running {
    /// The body of the answer to a GET for this host.
    fn ask(&self, host: &str) -> String {
        let answer = ask(
            self.proxy,
            &format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
        );
        answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

#[test]
fn a_process_that_is_killed_leaves_its_breakers_and_rankings_to_the_next() {
    let world = World::new("killed");
    world.learn();
    // Nothing can be learned anew: checks go unanswered.
    for backend in [&world.slow, &world.quick] {
        backend.is_mute.store(true, Ordering::SeqCst);
    }
    let (slow, good) = (world.slow.requests(), world.good.requests());
    let second = world.start();
    assert!(second.said.contains("3 backends and 0 lists are remembered"), "{}", second.said);
    for _ in 0..6 {
        assert_eq!(second.ask("ills.test"), "good");
        assert_eq!(second.ask("quick.test"), "quick");
    }
    assert_eq!(world.ill.requests(), 2, "its breaker is still open");
    assert_eq!((world.slow.requests(), world.good.requests()), (slow, good + 6));
    let learned = get(second.admin, "/metrics.json");
    assert_eq!(learned.matches("\"breaker\": \"open\"").count(), 1, "{learned}");
    assert!(get(second.admin, "/metrics").contains("lb_state_failures_total 0\n"));
    second.process.finish();
    // The third begins with what the second wrote when it ended.
    let third = world.start();
    assert!(third.said.contains("3 backends and 0 lists are remembered"), "{}", third.said);
    assert_eq!(third.ask("ills.test"), "good");
    assert_eq!(world.ill.requests(), 2, "its breaker is still open");
}

#[test]
fn a_successor_begins_with_what_was_learned_up_to_then() {
    // It is told what was learned, and needs no file for it.
    let world = World::new("succeeded");
    let text = fs::read_to_string(&world.config).unwrap();
    let kept = format!("[state]\nfile = \"{}\"\nevery = \"100ms\"\n", world.state);
    fs::write(&world.config, text.replace(&kept, "")).unwrap();
    let mut first = world.start();
    for _ in 0..4 {
        assert_eq!(first.ask("ills.test"), "good");
    }
    assert_eq!(world.ill.requests(), 2, "then its breaker opened");
    while first.ask("quick.test") != "quick" {}
    let mut last = Last(first.process.child.id());
    let said = upgrade_knowing(&mut first.process, &mut last);
    // Of the slow one it depends on whether its check has been answered.
    let known = ["2", "3"].map(|count| format!(" {count} backends and 0 lists are{REMEMBERS}"));
    assert!(known.iter().any(|known| said.contains(known)), "{said}");
    for _ in 0..8 {
        assert_eq!(first.ask("ills.test"), "good");
    }
    assert_eq!(world.ill.requests(), 2, "its breaker is still open");
    kill("-TERM", last.0);
    first.process.last_words();
    assert!(fs::metadata(&world.state).is_err(), "nobody asked for a file");
}

#[test]
fn a_successor_leaves_the_file_to_whoever_serves_and_goes_on_with_it() {
    let world = World::new("left");
    let mut first = world.start();
    for _ in 0..4 {
        assert_eq!(first.ask("ills.test"), "good");
    }
    // What the process tells it counts, and not what is in the file.
    let mut last = Last(first.process.child.id());
    let said = upgrade(&mut first.process, &mut last);
    assert!(said.contains("are remembered by the process before") && !said.contains(" old: "));
    let _was_written = fs::remove_file(&world.state);
    while !fs::read_to_string(&world.state).is_ok_and(|text| text.contains("\"open\"")) {
        thread::yield_now();
    }
    kill("-TERM", last.0);
    first.process.last_words();
    fs::remove_file(&world.state).unwrap();
}

#[test]
fn a_file_that_is_of_no_use_is_told_of_and_left_out() {
    let world = World::new("useless");
    world.learn();
    let good = fs::read_to_string(&world.state).unwrap();
    let (head, body) = good.split_once('\n').unwrap();
    let (before, after) = head.split_once("\"written_ms\":").unwrap();
    let (_, after) = after.split_once(',').unwrap();
    let old = format!("{before}\"written_ms\":1000,{after}\n{body}");
    for (text, why) in [
        (good.replace("\"left_us\":", "\"left_us\":1"), "is damaged"),
        (good[..good.len() / 2].to_owned(), "is damaged"),
        (good.replace("\"lb-state\":1", "\"lb-state\":9"), "is of version 9"),
        (old, "which is more than max_age"),
        (String::new(), "is no state of lb"),
    ] {
        fs::write(&world.state, text).unwrap();
        let said = world.starts_clean();
        assert!(said.contains("warning: ") && said.contains(why), "{said}");
    }
    // What may be somebody's own is not written over.
    fs::write(&world.state, "dear diary\n").unwrap();
    let said = world.starts_clean();
    assert!(said.contains("is no state of lb") && said.contains(".state.old"), "{said}");
    assert_eq!(fs::read_to_string(format!("{}.old", world.state)).unwrap(), "dear diary\n");
}

#[test]
fn a_file_that_cannot_be_written_is_told_of_once_and_counted() {
    let world = World::new("unwritable");
    fs::create_dir_all(&world.state).unwrap();
    let mut process = Process::start_with(&["--config", &world.config]);
    let said = process.says("cannot be written");
    assert!(said.contains("the process begins without it"), "{said}");
    process.terminate();
    assert_eq!(process.last_words().matches("cannot be written").count(), 0);
    fs::remove_dir(&world.state).unwrap();
}

#[test]
fn backends_that_were_found_are_remembered_while_nobody_answers() {
    let backend = Backend::start("found", 200, Duration::ZERO);
    let list = file("remembered.json", &format!("[{{ \"url\": \"http://{}\" }}]", backend.addr));
    let state = absent("remembered.state");
    let config = format!(
        "state = {{ file = \"{state}\", every = \"100ms\" }}\n\
         [admin]\nbind = \"127.0.0.1:0\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         pool = [{{ discover = {{ file = \"{list}\" }} }}]\n"
    );
    let config = file("remembered.toml", &config);
    let (mut first, mut said, proxy) = start(&config);
    assert!(get(proxy, "/").ends_with("found"));
    while !fs::read_to_string(&state).is_ok_and(|text| text.contains("\"found\"")) {
        thread::yield_now();
    }
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    said.push_str(&first.last_words());
    assert!(said.contains(&format!("+http://{}", backend.addr)), "{said}");
    fs::remove_file(&list).unwrap();

    let (mut second, said, proxy) = start(&config);
    assert!(said.contains("0 backends and 1 list are remembered"), "{said}");
    let admin = second.addr("admin at http://");
    assert!(get(proxy, "/").ends_with("found"));
    while get(admin, "/discovery").contains("\"trouble\": null") {}
    let report = get(admin, "/discovery");
    assert!(report.contains("\"remembered\": true"), "{report}");
    assert!(report.contains("No such file"), "{report}");
    assert!(get(proxy, "/").ends_with("found"));
    second.finish();
}

#[test]
fn a_successor_knows_the_backends_that_were_found() {
    let backend = Backend::start("found", 200, Duration::ZERO);
    let list = file("inherited.json", &format!("[{{ \"url\": \"http://{}\" }}]", backend.addr));
    let config = format!(
        "[admin]\nbind = \"127.0.0.1:0\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         pool = [{{ discover = {{ file = \"{list}\" }} }}]\n"
    );
    let (mut process, _, proxy) = start(&file("inherited.toml", &config));
    assert!(get(proxy, "/").ends_with("found"));
    fs::remove_file(&list).unwrap();
    let mut last = Last(process.child.id());
    let said = upgrade_knowing(&mut process, &mut last);
    assert!(said.contains(&format!(" 1 list are{REMEMBERS}")), "{said}");
    assert!(get(proxy, "/").ends_with("found"));
    kill("-TERM", last.0);
    process.last_words();
}

const REMEMBERS: &str = " remembered by the process before";

/// Has a successor take over, and returns what both say up to what it remembers, which it may say before its
/// predecessor says that it serves, or after.
fn upgrade_knowing(process: &mut Process, last: &mut Last) -> String {
    let mut said = upgrade(process, last);
    if !said.contains(REMEMBERS) {
        said.push_str(&process.says(REMEMBERS));
    }
    said
}

/// A path at which there is nothing.
fn absent(name: &str) -> String {
    // A test that failed may have left a file or a folder there.
    let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _was_none = fs::remove_dir(&path);
    let _was_none = fs::remove_file(&path);
    path.display().to_string()
}

/// A process, what it said up to the address of its proxy, and that address.
fn start(config: &str) -> (Process, String, SocketAddr) {
    let mut process = Process::start_with(&["--config", config]);
    let said = process.says("listening at http://");
    let proxy = said.trim_end().rsplit_once("http://").unwrap().1.parse().unwrap();
    (process, said, proxy)
}
