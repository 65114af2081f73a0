//! `docs/access-log.md` has every field and every word of the access log, and no other.
//!
//! What can be written is read from the source: the fields of the structures that become JSON, and the
//! words of the functions that name things. So there is no list beside the enums that could be
//! forgotten. That reasons have the status that the page says is looked at in `lb-server/src/error.rs`.

use std::collections::BTreeSet;

use super::tree::read;

const DOCUMENT: &str = "docs/access-log.md";
const JOURNAL: &str = "lb-server/src/observe/journal.rs";
const JOURNAL_LINE: &str = "lb-server/src/observe/journal/line.rs";
const WHY: &str = "lb-server/src/observe/why.rs";
const MADE: &str = "lb-server/src/observe/made.rs";
const OUTCOME: &str = "lb-core/src/outcome.rs";
const BREAKER: &str = "lb-core/src/breaker.rs";

/// A structure that becomes JSON, and what stands before its fields in a table.
struct Structure {
    path: &'static str,
    item: &'static str,
    before: &'static str,
}

/// A function that names things: the only strings in it that are words are what can be written.
struct Naming {
    path: &'static str,
    block: &'static str,
    function: &'static str,
}

/// The tables of fields, by heading.
const FIELDS: [(&str, &[Structure]); 3] = [
    ("A line", &[Structure { path: JOURNAL_LINE, item: "struct Line<'l>", before: "" }]),
    (
        "`attempts`",
        &[
            Structure { path: WHY, item: "struct AttemptLine<'l>", before: "" },
            Structure { path: WHY, item: "struct Why<'l>", before: "why." },
        ],
    ),
    (
        "`choices`",
        &[
            Structure { path: MADE, item: "struct Made", before: "" },
            Structure { path: MADE, item: "struct Pool", before: "pools[]." },
            Structure { path: MADE, item: "struct Seen", before: "candidates[]." },
        ],
    ),
];

/// The tables of words that have a field to themselves.
const WORDS: [(&str, &[Naming]); 2] = [
    (
        "`reason`",
        &[
            as_str("lb-server/src/framing/head.rs", "impl Refusal"),
            Naming {
                path: "lb-server/src/error.rs",
                block: "impl Problem",
                function: "fn reason(",
            },
            as_str("lb-core/src/event.rs", "impl Rejection"),
            Naming { path: JOURNAL, block: "impl Journal", function: "fn answered_by_route(" },
            LINE,
        ],
    ),
    (
        "`outcome`",
        &[
            as_str(OUTCOME, "impl Failure"),
            Naming { path: JOURNAL, block: "impl Attempt", function: "fn line<" },
        ],
    ),
];

/// The table of all others, by field.
const OTHER_WORDS: [(&str, &[Naming]); 7] = [
    ("end", &[as_str(OUTCOME, "impl BodyEnd"), LINE]),
    ("retry_withheld", &[as_str("lb-core/src/retry.rs", "impl Withheld")]),
    ("role", &[as_str("lb-core/src/breaker/permit.rs", "impl Role")]),
    ("steered", &[as_str("lb-core/src/steer.rs", "impl Steered")]),
    ("how", &[as_str("lb-core/src/balance/mod.rs", "impl How")]),
    ("breaker", &[as_str(BREAKER, "impl BreakerState")]),
    ("left_out", &[as_str("lb-core/src/explain.rs", "impl LeftOut")]),
];

/// What is said of an exchange that the end of the process cuts.
const LINE: Naming = Naming { path: JOURNAL, block: "impl Journal", function: "fn line(" };

/// `steered` is left out where it would be this.
const LEFT_OUT: &str = "order";

const fn as_str(path: &'static str, block: &'static str) -> Naming {
    Naming { path, block, function: "fn as_str(" }
}

#[test]
fn every_field_of_the_access_log_stands_in_its_document_and_nothing_else_does() {
    let source = "struct A {\n    /// Said: so.\n    one: u8,\n    two: Option<u8>,\n    \
                  #[serde(skip_serializing_if = \"Option::is_none\")]\n    \
                  pub(super) three: Option<u8>,\n}\n\nstruct B {\n    four: u8,\n}\n";
    let table = "# A\n\n| field | type | absent | means |\n|---|---|---|---|\n| `b.one` | number | | x |\n\
                 | `b.two` | number or null | | x |\n| `b.three` | number | seldom | `x` |\n\n# B\n";
    assert_eq!(listed_fields(table, "A"), fields(source, "struct A", "b."));
    assert_ne!(listed_fields(&table.replace("seldom", ""), "A"), fields(source, "struct A", "b."));
    assert_ne!(listed_fields(&table.replace("or null", ""), "A"), fields(source, "struct A", "b."));

    let document = read(DOCUMENT);
    for (heading, structures) in FIELDS {
        let mut written = Vec::new();
        for Structure { path, item, before } in structures {
            let text = read(path);
            assert!(!text.contains("serde(rename"), "{path}: a field is written by its name");
            written.extend(fields(&text, item, before));
        }
        written.sort_unstable();
        assert_eq!(listed_fields(&document, heading), written, "{DOCUMENT}, {heading}");
    }
}

#[test]
fn every_word_of_the_access_log_stands_in_its_document_and_nothing_else_does() {
    let source = "\nimpl A {\n    fn is(self) {\n        \"no\"\n    }\n\n    fn as_str(self) {\n        \
                  \"b_c\"; expect(\"not a word\"); \"d\"\n    }\n}\n\nimpl B {\n}\n";
    assert_eq!(words(source, "impl A", "fn as_str("), BTreeSet::from(["b_c", "d"]));

    assert!(read(WHY).contains("steered != Steered::Order"), "{WHY}: {LEFT_OUT} is left out");
    let document = read(DOCUMENT);
    for (heading, namings) in WORDS {
        let rows = rows(&document, heading);
        let listed: Vec<&str> = rows.iter().flat_map(|row| names(row[0])).collect();
        check_words(heading, listed, namings);
    }
    let others = rows(&document, "Other words");
    for (field, namings) in OTHER_WORDS {
        let of_field = others.iter().filter(|row| names(row[0]).eq([field]));
        check_words(field, of_field.flat_map(|row| names(row[1])).collect(), namings);
    }
    let known = |row: &&Vec<&str>| OTHER_WORDS.iter().any(|(field, _)| names(row[0]).eq([*field]));
    assert_eq!(others.iter().filter(known).count(), others.len(), "a row is of a known field");
}

/// Whether `listed` is what `namings` can say, each once.
fn check_words(what: &str, mut listed: Vec<&str>, namings: &[Naming]) {
    let texts: Vec<String> = namings.iter().map(|naming| read(naming.path)).collect();
    let said = namings.iter().zip(&texts);
    let said = said.flat_map(|(naming, text)| words(text, naming.block, naming.function));
    let said: BTreeSet<&str> = said.filter(|word| *word != LEFT_OUT).collect();
    listed.sort_unstable();
    assert_eq!(listed, said.into_iter().collect::<Vec<_>>(), "{DOCUMENT}, {what}");
}

/// A field: its name, whether it may be absent, and whether it may be null.
type Field = (String, bool, bool);

/// The fields of a structure, in the order of their names.
fn fields(source: &str, item: &str, before: &str) -> Vec<Field> {
    let mut found = Vec::new();
    let mut is_left_out = false;
    for line in part(source, &format!("{item} {{\n"), "\n}\n").lines().map(str::trim) {
        if line.starts_with("#[serde(skip_serializing_if") {
            is_left_out = true;
        } else if let Some((name, kind)) = line.split_once(": ").filter(|_| !is_remark(line)) {
            let name = name.rsplit(' ').next().expect("a split has a last part");
            let is_null = !is_left_out && kind.starts_with("Option<");
            found.push((format!("{before}{name}"), is_left_out, is_null));
            is_left_out = false;
        }
    }
    found.sort_unstable();
    found
}

fn is_remark(line: &str) -> bool {
    line.starts_with("//") || line.starts_with('#')
}

/// The words that a method can say, by the block that it is in.
fn words<'s>(source: &'s str, block: &str, function: &str) -> BTreeSet<&'s str> {
    let block = part(source, &format!("\n{block} {{\n"), "\n}\n");
    let strings = part(block, function, "\n    }\n").split('"').skip(1).step_by(2);
    let words: BTreeSet<&str> =
        strings.filter(|text| !text.is_empty() && !text.contains(' ')).collect();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    for word in &words {
        assert!(word.bytes().all(is_plain), "{block}: {word:?} is another kind of word");
    }
    words
}

/// The fields that the table below a heading lists, in the order of their names.
fn listed_fields(document: &str, heading: &str) -> Vec<Field> {
    let rows = rows(document, heading);
    let fields = rows.iter().flat_map(|row| {
        let (is_null, is_left_out) = (row[1].contains("null"), !row[2].is_empty());
        names(row[0]).map(move |name| (name.to_owned(), is_left_out, is_null))
    });
    let mut fields: Vec<Field> = fields.collect();
    fields.sort_unstable();
    fields
}

/// The cells of the table below a heading, row by row.
fn rows<'d>(document: &'d str, heading: &str) -> Vec<Vec<&'d str>> {
    let table = part(document, &format!("# {heading}\n"), "\n#").lines();
    let rows = table.filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// What a cell, whose first mark is off, has between such marks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.trim_start_matches('`').split('`').step_by(2).filter(|name| !name.is_empty())
}

/// What stands between two texts, or behind the first if the other does not follow.
fn part<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin:?} to be found"));
    rest.split_once(end).map_or(rest, |(part, _)| part)
}
