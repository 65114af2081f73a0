//! The JSON Schemas of configurations and scenarios: what the readers ask, and what editors complain about.
//!
//! `UPDATE_EXPECT=1 cargo test --test schema` writes them anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use boon::{Compiler, Schemas};
use lb_config::Source;
use lb_config::read::Shape;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// All TOML files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files(&entry)),
            false if entry.extension().is_some_and(|it| it == "toml") => found.push(entry),
            false => {}
        }
    }
    found.sort();
    found
}

/// Texts of configurations: the examples, and the whole one in the documents.
fn configurations() -> Vec<(String, String)> {
    let documents = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let blocks = documents.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let blocks = blocks.filter(|block| lb_config::load(&source(block)).0.is_some());
    let blocks = blocks.map(|block| ("docs/configuration.md".to_owned(), block.to_owned()));
    blocks.chain(read(&root().join("docs/examples"))).collect()
}

fn scenarios() -> Vec<(String, String)> {
    read(&root().join("scenarios"))
}

fn read(folder: &Path) -> Vec<(String, String)> {
    let text = |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).unwrap());
    files(folder).into_iter().map(text).collect()
}

fn source(text: &str) -> Source<'_> {
    Source { name: "x.toml", text }
}

/// What is asked of all of them.
fn asked(texts: &[(String, String)], shape: impl Fn(&Source<'_>) -> Shape) -> Shape {
    let mut all = Shape::new();
    texts.iter().for_each(|(_, text)| all.merge(shape(&source(text))));
    all
}

/// The schema in the repository, which has to be what is asked.
fn kept(name: &str, schema: &Value) {
    let path = root().join("docs/schema").join(name);
    let now = format!("{schema:#}\n");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &now).unwrap();
    }
    let before = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        before == now,
        "docs/schema/{name} is outdated: UPDATE_EXPECT=1 cargo test --test schema"
    );
}

fn configuration_schema() -> Value {
    static ONCE: OnceLock<Value> = OnceLock::new();
    ONCE.get_or_init(configuration).clone()
}

fn configuration() -> Value {
    let mut all = asked(&configurations(), lb_config::shape);
    // Scenarios embed configurations, and some say what no example does.
    all.merge(asked(&scenarios(), lb_sim::scenario::shape).below("config"));
    all.schema("The configuration of lb-server", &[])
}

fn scenario_schema() -> Value {
    static ONCE: OnceLock<Value> = OnceLock::new();
    ONCE.get_or_init(scenario).clone()
}

fn scenario() -> Value {
    let elsewhere = [("config", "configuration.json"), ("action.config", "configuration.json")];
    asked(&scenarios(), lb_sim::scenario::shape).schema("A scenario of lb-sim", &elsewhere)
}

#[test]
fn the_schemas_are_what_the_readers_ask() {
    kept("configuration.json", &configuration_schema());
    kept("scenario.json", &scenario_schema());
}

/// What an editor complains about in a text, if it does.
fn complaint(schema: &str, text: &str) -> Option<String> {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let base = "https://lb.invalid/";
    for (name, schema) in
        [("configuration.json", configuration_schema()), ("scenario.json", scenario_schema())]
    {
        compiler.add_resource(&format!("{base}{name}"), schema).unwrap();
    }
    let index = compiler.compile(&format!("{base}{schema}"), &mut schemas).unwrap();
    let value: Value = toml::from_str(text).unwrap();
    schemas.validate(&value, index).err().map(|error| format!("{error:#}"))
}

#[test]
fn every_example_and_every_scenario_is_as_its_schema_says() {
    for (name, text) in configurations() {
        assert_eq!(complaint("configuration.json", &text), None, "{name}");
    }
    for (name, text) in scenarios() {
        assert_eq!(complaint("scenario.json", &text), None, "{name}");
    }
}

#[test]
fn a_slip_is_found_where_it_is() {
    let scenario = fs::read_to_string(root().join("scenarios/partition.toml")).unwrap();
    for (right, wrong, place) in [
        ("schema = 1", "schema = 2", "/schema"),
        ("kind = \"blackhole\"", "kind = \"black hole\"", "/fault/0/kind"),
        ("[workload]", "[workload]\nrates = 3", "/workload"),
        ("duration = \"", "duration = \"x", "/duration"),
        ("[config.service.timeouts]", "[config.service.timeout]", "/config/service/0"),
    ] {
        assert!(scenario.contains(right), "{right} in the scenario");
        let said = complaint("scenario.json", &scenario.replacen(right, wrong, 1));
        let said = said.unwrap_or_else(|| panic!("{wrong} is no slip"));
        assert!(said.contains(place), "{place} in {said}");
    }
}
