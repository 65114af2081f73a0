//! Pages are well-formed, load nothing, run nothing, and hold their names; long runs of many backends fit.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use html5ever::tendril::TendrilSink;
use html5ever::tokenizer::TokenizerOpts;
use html5ever::{ParseOpts, parse_document};
use lb_sim::page::Played;
use lb_sim::shell::quoted;
use lb_sim::{Engine, Scenario, Verdict, scenario};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

/// What a page is made of.
#[derive(Default)]
struct Read {
    /// Names of elements, in order.
    elements: Vec<String>,
    /// (element, attribute, value).
    attributes: Vec<(String, String, String)>,
    /// All text outside of style sheets.
    text: String,
}

impl Read {
    /// Reads a page, in which nothing may be wrong.
    fn of(page: &str) -> Self {
        let tokenizer = TokenizerOpts { exact_errors: true, ..TokenizerOpts::default() };
        let opts = ParseOpts { tokenizer, ..ParseOpts::default() };
        let dom = parse_document(RcDom::default(), opts).one(page);
        let errors = dom.errors.borrow();
        assert!(errors.is_empty(), "{errors:?}");
        let mut read = Self::default();
        read.enter(&dom.document);
        read
    }

    fn enter(&mut self, node: &Handle) {
        match &node.data {
            NodeData::Element { name, attrs, .. } => {
                let element = name.local.to_string();
                for attr in attrs.borrow().iter() {
                    let (name, value) = (attr.name.local.to_string(), attr.value.to_string());
                    self.attributes.push((element.clone(), name, value));
                }
                let is_style = element == "style";
                self.elements.push(element);
                if is_style {
                    return;
                }
            }
            NodeData::Text { contents } => {
                self.text.push_str(&contents.borrow());
                self.text.push('\n');
            }
            _ => {}
        }
        for child in node.children.borrow().iter() {
            self.enter(child);
        }
    }

    /// Asserts that nothing in it loads, runs or leads anywhere.
    fn is_harmless(&self) {
        const KNOWN: &str = "html head meta title style body header main section div span p b i small code \
            h1 h2 h3 dl dt dd ol ul li table caption thead tbody tr th td details summary svg path";
        let known: Vec<&str> = KNOWN.split_whitespace().collect();
        for element in &self.elements {
            assert!(known.contains(&element.as_str()), "a page has no <{element}>");
        }
        for (element, name, value) in &self.attributes {
            let known = [
                "lang",
                "charset",
                "http-equiv",
                "content",
                "name",
                "class",
                "style",
                "title",
                "role",
                "aria-label",
                "aria-hidden",
                "viewBox",
                "preserveAspectRatio",
                "d",
                "scope",
                "colspan",
                "open",
            ];
            assert!(known.contains(&name.as_str()), "<{element}> has no {name}={value}");
            let is_place = !value.contains("url") && !value.contains('<') && !value.contains("//");
            assert!(name != "style" || is_place, "{value}");
        }
        let policy = |(_, name, value): &(String, String, String)| {
            name == "content" && value.starts_with("default-src 'none'; style-src 'unsafe-inline'")
        };
        assert!(self.attributes.iter().any(policy), "the browser is told to load and run nothing");
    }

    fn count(&self, element: &str) -> usize {
        self.elements.iter().filter(|it| *it == element).count()
    }
}

fn load(name: &str, text: &str) -> Scenario {
    let (scenario, said) = scenario::load(&lb_config::Source { name, text });
    scenario.unwrap_or_else(|| panic!("{said:?}"))
}

fn played(scenario: &Scenario, change: impl FnOnce(&mut lb_sim::engine::Run)) -> String {
    let mut run = Engine::Model.run(scenario, 7);
    change(&mut run);
    let verdict = Verdict::of(scenario, 7, &run);
    Played { scenario, run: &run, verdict: &verdict, engine: Engine::Model }.page()
}

/// Three backends of which one is black, and breaks an expectation.
fn trouble() -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios/partition.toml");
    fs::read_to_string(file).unwrap()
}

#[test]
fn a_page_is_well_formed_and_loads_and_runs_nothing() {
    let page = played(&load("partition.toml", &trouble()), |_| {});
    let read = Read::of(&page);
    read.is_harmless();
    assert!(!page.contains("http://") && !page.contains("https://"), "it leads nowhere");
    assert!(read.count("svg") >= 8 && read.count("table") >= 6, "{:?}", read.elements);
    let labels = read.attributes.iter().filter(|(of, name, _)| of == "svg" && name == "aria-label");
    assert_eq!(labels.count(), read.count("svg"), "every picture says what it is");
    for said in ["✓ Pass", "Share of the attempts", "breaker open", "Invariants", "Marks"] {
        assert!(read.text.contains(said), "{said}");
    }
}

#[test]
fn a_page_of_the_same_run_is_the_same_bytes() {
    let scenario = load("partition.toml", &trouble());
    assert_eq!(played(&scenario, |_| {}), played(&scenario, |_| {}));
}

#[test]
fn a_name_that_looks_like_markup_is_a_name() {
    const EVIL: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)></style>&amp;";
    let text = trouble().replacen("# ", &format!("# {EVIL} "), 1);
    let mut scenario = load(EVIL, &text);
    scenario.expect.at_end[0].text = EVIL.to_owned();
    let page = played(&scenario, |run| run.panic = Some(EVIL.to_owned()));
    let read = Read::of(&page);
    read.is_harmless();
    assert!(read.text.matches(EVIL).count() >= 3, "it is shown as it is written");
    let again = format!("run {} --seed", quoted(EVIL));
    assert!(read.text.contains(&again), "a shell that is given it again takes it for a name");
}

#[test]
fn what_went_wrong_stands_on_the_axis_and_in_words() {
    let text = trouble().replace("at_end = [", "at_end = [\"p50 <= 1ms\", ");
    let page = played(&load("partition.toml", &text), |_| {});
    let read = Read::of(&page);
    assert!(read.text.contains("✗ Fail") && read.text.contains("at_end p50 <= 1ms: it is "));
    let is_alarm = |it: &(String, String, String)| it.1 == "class" && it.2 == "alarm";
    assert!(read.attributes.iter().any(is_alarm), "a line at its time");
}

#[test]
fn fifty_backends_over_a_thousand_seconds_fit() {
    let (mut origins, mut backends) = (String::new(), String::new());
    let mut faults = String::new();
    for n in 1..=50 {
        write!(origins, "[[origin]]\nat = \"b{n}:80\"\n").unwrap();
        write!(backends, "{{ url = \"http://b{n}\" }}, ").unwrap();
        let (at, last) = (n * 15, 10);
        let fault = format!("at = \"{at}s\"\nfor = \"{last}s\"\nkind = \"refuse\"");
        write!(faults, "[[fault]]\norigin = \"b{n}:80\"\n{fault}\n").unwrap();
    }
    let text = format!(
        "# Many.\nschema = 1\nduration = \"1000s\"\n[workload]\nrate = 100\n{origins}{faults}\n\
         [[config.listener]]\nbind = \"0.0.0.0:8080\"\n[[config.service]]\nname = \"web\"\n\
         hosts = [\"web\"]\n[[config.service.pool]]\nbackends = [{backends}]\n"
    );
    let page = played(&load("many.toml", &text), |_| {});
    let read = Read::of(&page);
    read.is_harmless();
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    assert!(page.len() < 600_000, "{} bytes: a run is far from the limit", page.len());
    assert!(read.text.contains("b50:80"));
}

/// A folder of its own for each test.
/// A folder without what a run before this one left.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _none = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn lb_sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lb-sim")).args(args).output().unwrap()
}

/// A configuration of three backends.
fn config(about: &str) -> String {
    format!(
        "[[listener]]\nbind = \"127.0.0.1:8080\"\n[[service]]\nname = \"web\"\nhosts = [\"*\"]\n{about}\n\
         [[service.pool]]\nbackends = [{{ url = \"http://10.0.0.1\" }}, {{ url = \"http://10.0.0.2\" }}, \
         {{ url = \"http://10.0.0.3\" }}]\n"
    )
}

#[test]
fn a_check_draws_each_case_and_says_what_to_change() {
    let folder = folder("page-check");
    let (file, out) = (folder.join("<b>lb.toml"), folder.join("check.html"));
    fs::write(&file, config("[service.retry]\nattempts_max = 1\n")).unwrap();
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    // A breaker opens after so many failures, however many ask: of 200 a second they are felt.
    let world = ["check", file, "--seeds", "1", "--rate", "200"];
    let args = [&world[..], &["--slo", "error_ratio <= 0.1%", "--html", out]].concat();
    let done = lb_sim(&args);
    assert_eq!(done.status.code(), Some(131), "{done:?}");
    let page = fs::read_to_string(out).unwrap();
    let read = Read::of(&page);
    read.is_harmless();
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    let said = String::from_utf8(done.stdout).unwrap();
    let cases = said.lines().filter(|line| line.contains(" %  ")).count();
    let is_case = |it: &&(String, String, String)| it.1 == "class" && it.2 == "case";
    assert_eq!(read.attributes.iter().filter(is_case).count(), cases, "a timeline for each case");
    for said in ["✗ Fail", "✗ missed", "attempts_max = 3", "<b>lb.toml"] {
        assert!(read.text.contains(said), "{said}");
    }
    assert!(!read.text.contains("--html"), "the command is one that anybody can repeat");
}

#[test]
fn a_comparison_draws_intervals_around_zero() {
    let folder = folder("page-diff");
    let [old, new, out] = ["old.toml", "new.toml", "diff.html"].map(|name| folder.join(name));
    fs::write(&old, config("")).unwrap();
    fs::write(&new, config("[service.retry]\nattempts_max = 1\n")).unwrap();
    let files = [&old, &new, &out].map(|file| file.to_str().unwrap());
    let done = lb_sim(&["diff", files[0], files[1], "--seeds", "2", "--html", files[2]]);
    assert!(done.status.success(), "{done:?}");
    let page = fs::read_to_string(&out).unwrap();
    let read = Read::of(&page);
    read.is_harmless();
    let zero = read.attributes.iter().filter(|it| it.1 == "class" && it.2 == "tick zero").count();
    assert!(zero >= 10, "{zero} intervals");
    assert!(read.text.contains("surely changed"));
}

#[test]
fn a_map_has_a_cell_for_each_load_and_trouble_and_a_gate() {
    let folder = folder("page-map");
    let (file, out) = (folder.join("lb.toml"), folder.join("map.html"));
    fs::write(&file, config("")).unwrap();
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    let said = ["map", file, "--seeds", "1", "--capacity", "100", "--y", "lasts", "--html", out];
    let done = lb_sim(&[&said[..], &["--size", "100", "--stable", "93"]].concat());
    assert_eq!(done.status.code(), Some(131), "{done:?}");
    let page = fs::read_to_string(out).unwrap();
    let read = Read::of(&page);
    read.is_harmless();
    let fates = ["now", "late", "stuck", "over"];
    let is_cell = |it: &&(String, String, String)| it.1 == "class" && fates.contains(&&*it.2);
    // The load that is asked for is tried as well, and each fate is in the legend.
    assert_eq!(read.attributes.iter().filter(is_cell).count(), 13 * 8 + 4);
    assert!(read.text.contains("93 %") && read.text.contains("✗ Fail"), "{}", read.text);
}

#[test]
fn what_is_read_or_written_already_is_not_written_over() {
    let (folder, worlds) = (folder("page-taken"), folder("page-taken/worlds"));
    let (file, scenario) = (folder.join("lb.toml"), worlds.join("s.toml"));
    fs::write(&file, config("")).unwrap();
    fs::write(&scenario, trouble()).unwrap();
    let both = folder.join("both");
    let [config, said, both] = [&file, &scenario, &both].map(|path| path.to_str().unwrap());
    for args in [
        &["check", config, "--seeds", "1", "--html", config][..],
        &["map", config, "--html", config],
        &["diff", config, config, "--html", config],
        &["run", said, "--trace", said],
        &["run", said, "--trace", both, "--html", both],
        &["compare", said, "--write", said],
        &["compare", worlds.to_str().unwrap(), "--write", said],
    ] {
        let done = lb_sim(args);
        assert_eq!(done.status.code(), Some(1), "{args:?}");
        let complaint = String::from_utf8(done.stderr).unwrap();
        assert!(complaint.contains("is read or written already"), "{args:?}: {complaint}");
    }
    assert_eq!(fs::read_to_string(&scenario).unwrap(), trouble());
    assert_eq!(fs::read_to_string(&file).unwrap(), self::config(""));
    assert!(!folder.join("both").exists(), "what nobody writes is not left behind");
}

#[test]
fn a_question_that_makes_no_sense_leaves_no_page() {
    let folder = folder("page-nothing");
    let (file, out) = (folder.join("lb.toml"), folder.join("report.html"));
    fs::write(&file, config("")).unwrap();
    let (file, page) = (file.to_str().unwrap(), out.to_str().unwrap());
    for args in [
        &["check", file, "--service", "nobody", "--html", page][..],
        &["check", file, "--case", "one flies", "--html", page],
        &["map", file, "--service", "nobody", "--html", page],
        &["diff", file, file, "--slo", "share(b9:1) <= 0", "--html", page],
    ] {
        let done = lb_sim(args);
        assert_eq!(done.status.code(), Some(1), "{args:?}: {done:?}");
        assert!(!out.exists(), "{args:?}");
    }
    fs::write(&out, "last week's").unwrap();
    lb_sim(&["check", file, "--service", "nobody", "--html", page]);
    assert_eq!(fs::read_to_string(&out).unwrap(), "last week's");
    fs::remove_file(&out).unwrap();
}

#[test]
fn a_page_that_cannot_be_written_is_complained_about() {
    let folder = folder("page-nowhere");
    let file = folder.join("s.toml");
    fs::write(&file, trouble()).unwrap();
    let nowhere = folder.join("no/such/folder/a.html");
    let (file, nowhere) = (file.to_str().unwrap(), nowhere.to_str().unwrap());
    let done = lb_sim(&["run", file, "--engine", "model", "--html", nowhere]);
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("a.html: there is no folder "), "{said}");
}
