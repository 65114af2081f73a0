//! The pages on papers and incidents say what a run says. The whole of the former takes a release build:
//! `lb-sim papers --check`; here its arithmetic and a few scenarios are looked up in it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lb_sim::papers::arithmetic::SUMS;
use lb_sim::papers::page::{self, Told};
use lb_sim::papers::{PAPERS, Study};
use lb_sim::{parallel, scenario};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All scenarios of a folder, in the order of their names.
fn studies(folder: &str) -> Vec<(String, Study)> {
    let load = |file: PathBuf| {
        // As it is named from the root.
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let study = Study::load(&name, &text).unwrap_or_else(|said| panic!("{said}"));
        (name, study)
    };
    let files = scenario::files(&root().join(folder)).unwrap();
    files.into_iter().map(load).collect()
}

/// Runs all of them, on all cores.
fn run(all: &[(String, Study)]) -> Vec<Told> {
    let mut told = BTreeMap::new();
    parallel::each(
        all.len(),
        None,
        |at| all[at].1.run(),
        |at, result| {
            let (file, study) = all[at].clone();
            assert_eq!(result.failed, None, "{file}");
            told.insert(at, Told { file, study, result });
        },
    );
    told.into_values().collect()
}

#[test]
fn the_page_on_incidents_is_what_the_run_says() {
    let told = run(&studies("scenarios/incidents"));
    let unsaid = fs::read_to_string(root().join("docs/unsaid.md")).unwrap();
    let page = fs::read_to_string(root().join("docs/incidents.md")).unwrap();
    let said = page::incidents(&told, &unsaid);
    assert!(said == page, "run lb-sim papers, and look at what changed in docs/incidents.md");
    for told in &told {
        assert!(page.contains(&page::link(&told.file)), "{} is not told of", told.file);
    }
}

#[test]
fn the_other_way_is_shown_in_the_same_world() {
    let all = studies("scenarios/incidents");
    let others = all.iter().filter_map(|(name, it)| Some((name.strip_suffix("-other.toml")?, it)));
    let mut count = 0;
    for (name, other) in others {
        count += 1;
        let ours = all.iter().find(|(it, _)| *it == format!("{name}.toml"));
        let (ours, other) =
            (&ours.expect("an other way has ours beside it").1.scenario, &other.scenario);
        assert_eq!(ours.origins, other.origins, "{name}");
        assert_eq!(ours.workload, other.workload, "{name}");
        assert_eq!(ours.faults, other.faults, "{name}");
        assert_eq!((ours.duration, ours.seed), (other.duration, other.seed), "{name}");
        let times = |it: &lb_sim::Scenario| it.actions.iter().map(|it| it.at).collect::<Vec<_>>();
        assert_eq!(times(ours), times(other), "{name}");
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn the_page_on_papers_has_the_arithmetic_of_the_core() {
    let page = fs::read_to_string(root().join("docs/papers.md")).unwrap();
    for sum in SUMS {
        for row in (sum.rows)() {
            let line = page::line(&row, sum.with);
            assert!(page.contains(&line), "docs/papers.md lacks {line}run lb-sim papers");
        }
    }
}

/// Those that take a second or two without optimisation.
const SMALL: [&str; 4] = ["hotos-naive", "hotos-ours", "sre-budget", "ewma-peak"];

#[test]
fn the_page_on_papers_tells_of_every_scenario_as_the_small_ones_run() {
    let page = fs::read_to_string(root().join("docs/papers.md")).unwrap();
    let all = studies("scenarios/papers");
    for (name, study) in &all {
        let key = study.notes.paper.as_deref().expect("it says of which paper it is");
        assert!(PAPERS.iter().any(|paper| paper.key == key), "{name}: {key}");
        assert!(page.contains(&page::link(name)), "{name} is not told of; run lb-sim papers");
    }
    let is_small = |name: &str| SMALL.iter().any(|small| name.ends_with(&format!("/{small}.toml")));
    let small: Vec<_> = all.into_iter().filter(|(name, _)| is_small(name)).collect();
    assert_eq!(small.len(), SMALL.len());
    for Told { file, result, .. } in run(&small) {
        for row in result.rows {
            let line = page::line(&row, &page::link(&file));
            assert!(page.contains(&line), "docs/papers.md lacks {line}run lb-sim papers");
        }
    }
}
