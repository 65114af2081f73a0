//! Files that cannot be read or written, or are something else: what is said of them, by every command alike.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const CONFIG: &str = "[[listener]]\nbind = \"127.0.0.1:8080\"\n[[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
     [[service.pool]]\nbackends = [{ url = \"http://a\" }]\n";

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    folder
}

/// What `lb-sim` complains of in a folder, and its exit code.
fn complaint(folder: &PathBuf, args: &[&str]) -> (String, Option<i32>) {
    complaint_beside(folder, args, Stdio::null())
}

/// The same where what it has to say goes `to`.
fn complaint_beside(folder: &PathBuf, args: &[&str], to: Stdio) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    let output = command.args(args).current_dir(folder).stdout(to).output().unwrap();
    (String::from_utf8(output.stderr).unwrap().trim().to_owned(), output.status.code())
}

#[test]
fn a_file_that_cannot_be_read_is_told_of_with_its_place() {
    let folder = folder("unread");
    fs::create_dir(folder.join("inner")).unwrap();
    fs::write(folder.join("latin.toml"), b"# one\n# caf\xe9\n").unwrap();
    fs::write(folder.join("lb.toml"), CONFIG).unwrap();
    let scenario = "# A sentence.\nschema = 1\nduration = \"1s\"\n[workload]\nrate = 1\n";
    fs::write(folder.join("world.toml"), scenario).unwrap();
    for (file, what) in [
        ("none.toml", "none.toml: is not there; check its path"),
        ("inner", "inner: is a folder; name a file in it"),
        ("latin.toml", "latin.toml:2:6: is not UTF-8 from here on; save the file as UTF-8"),
    ] {
        for command in [
            &["run", file] as &[&str],
            &["shrink", file],
            &["check", file],
            &["map", file],
            &["diff", "lb.toml", file],
            &["explain", file, "1"],
            &["draw", file, "--seed", "1"],
        ] {
            assert_eq!(complaint(&folder, command), (what.to_owned(), Some(1)), "{command:?}");
        }
    }
    for command in [&["sweep", "none", "--seeds", "1..1"] as &[&str], &["repeat", "none"]] {
        let what = "none: is not there; check its path".to_owned();
        assert_eq!(complaint(&folder, command), (what, Some(1)), "{command:?}");
    }
    for (log, what) in [
        ("none.log", "none.log: is not there; check its path"),
        ("inner", "inner: is a folder; name a file in it"),
    ] {
        let replay = ["replay", log, "--config", "lb.toml"];
        assert_eq!(complaint(&folder, &replay), (what.to_owned(), Some(1)));
    }
    let (what, _) = complaint(&folder, &["run", "lb.toml"]);
    assert!(what.contains("no scenario; lb-sim check lb.toml"), "{what}");
    let (what, _) = complaint(&folder, &["check", "world.toml"]);
    assert!(what.contains("no configuration of lb-server; lb-sim run world.toml"), "{what}");
}

#[test]
fn a_file_that_cannot_be_written_is_told_of_before_anything_is_done() {
    let folder = folder("unwritten");
    fs::create_dir(folder.join("inner")).unwrap();
    fs::write(folder.join("lb.toml"), CONFIG).unwrap();
    fs::write(folder.join("there"), "kept").unwrap();
    let page = |file| ["check", "lb.toml", "--case", "steady", "--html", file];
    let sweep = |to| ["sweep", "--swarm", "--seeds", "1..1", "--out", to];
    for (args, what) in [
        (&page("no/such/a.html") as &[&str], "there is no folder no/such; make it first"),
        (&page("inner"), "inner: is a folder; name a file in it"),
        (&page("lb.toml"), "lb.toml: is read or written already; name another file"),
        (&sweep("there"), "there: is a file; name a folder"),
    ] {
        let (said, code) = complaint(&folder, args);
        assert!(code == Some(1) && said.contains(what), "{args:?}: {said}");
    }
    assert_eq!(fs::read_to_string(folder.join("there")).unwrap(), "kept");
}

#[test]
fn a_sweep_leaves_no_empty_folder_behind_and_a_shrink_writes_over_nothing() {
    let folder = folder("left");
    let (said, code) = complaint(&folder, &["sweep", "--swarm", "--seeds", "1..1", "--out", "new"]);
    assert_eq!((code, folder.join("new").exists()), (Some(0), false), "{said}");
    let (drawn, there) = (folder.join("drawn.toml"), folder.join("there.toml"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-sim"));
    let world = command.args(["draw", "--seed", "1"]).output().unwrap().stdout;
    fs::write(&drawn, world).unwrap();
    fs::write(&there, "kept").unwrap();
    let (said, code) = complaint(&folder, &["shrink", "drawn.toml", "--out", "there.toml"]);
    assert_eq!(
        (said.lines().last().unwrap(), code),
        ("there.toml: is there already; name another", Some(1))
    );
    assert_eq!(fs::read_to_string(&there).unwrap(), "kept");
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_is_an_error_and_one_that_nobody_reads_is_none() {
    let folder = folder("full");
    fs::write(folder.join("lb.toml"), CONFIG).unwrap();
    let log = "10.9.9.9 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 200 5\n";
    fs::write(folder.join("access.log"), log).unwrap();
    let world = Command::new(env!("CARGO_BIN_EXE_lb-sim")).args(["draw", "--seed", "1"]).output();
    fs::write(folder.join("drawn.toml"), world.unwrap().stdout).unwrap();
    for args in [
        &["draw", "--seed", "1"] as &[&str],
        &["run", "drawn.toml"],
        &["check", "lb.toml", "--case", "steady", "--seeds", "1"],
        &["replay", "access.log", "--config", "lb.toml"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (said, code) = complaint_beside(&folder, args, full.into());
        let why = "standard output: cannot be written: No space left on device";
        assert!(code == Some(1) && said.contains(why), "{args:?}: {code:?}, {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (said, code) = complaint_beside(&folder, args, writer.into());
        // What a drawn world comes to is its own code.
        assert!(code != Some(1) && !said.contains("standard output"), "{args:?}: {code:?}, {said}");
    }
}
