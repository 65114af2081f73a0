//! What a route asks of a request besides host and path.

use lb_core::config::{
    COMPARED_BYTES_MAX, CONDITIONS_MAX, Conditions, FieldTest, Scheme, Test, UPGRADE,
};
use lb_core::{Cidr, NoCidr};

use crate::native::balance::is_token;
use crate::read::{Given, Mistake, Table, Value};

pub(super) fn conditions(table: &mut Table<'_>) -> Conditions {
    let methods = bounded(table, "methods", |item| item.parsed(method));
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    let scheme = table.choice("scheme", &schemes).given().map(|scheme| scheme.value);
    let sources = bounded(table, "sources", |item| item.parsed(range));
    let headers = tests(table.table("headers"), header_name);
    let query = tests(table.table("query"), compared);
    Conditions { methods, scheme, headers, query, sources }
}

/// A list that says something: without it, everything is taken.
fn bounded<T>(
    table: &mut Table<'_>,
    key: &'static str,
    read: impl FnMut(Value<'_>) -> Option<T>,
) -> Vec<T> {
    let report = table.report();
    let Some(list) = table.list(key, read).given() else { return Vec::new() };
    if !(1..=CONDITIONS_MAX).contains(&list.value.len()) {
        let what = format!("{key} has {} items", list.value.len());
        report.error(list.at, what, format!("use 1..={CONDITIONS_MAX}, or leave it out for any"));
    }
    list.value
}

/// What each of the named fields must be like.
fn tests(table: Table<'_>, name: impl Fn(&str) -> Result<String, Mistake>) -> Vec<FieldTest> {
    let (at, report) = (table.at(), table.report());
    let mut all: Vec<FieldTest> = Vec::new();
    for (said, value) in table.entries() {
        match name(said.value) {
            Ok(name) => all.extend(test(&value).into_iter().map(|test| {
                let test = if name == UPGRADE { in_lower_case(&test) } else { test };
                FieldTest { name: name.clone(), test }
            })),
            Err(wrong) => {
                let what = format!("{:?} {}", short(&said), wrong.what);
                report.error(said.at, what, wrong.remedy);
            }
        }
    }
    if all.len() > CONDITIONS_MAX {
        let what = format!("there are {} conditions", all.len());
        report.error(at, what, format!("use at most {CONDITIONS_MAX}"));
    }
    all
}

fn short(name: &Given<&str>) -> String {
    name.value.chars().take(80).collect()
}

/// `true`, a text, or a table of what the value must be like.
fn test(value: &Value<'_>) -> Vec<Test> {
    if value.is_text() {
        return value.parsed(compared).map(Test::Equals).into_iter().collect();
    }
    if !value.is_table() {
        return match value.boolean() {
            Some(true) => vec![Test::Present],
            Some(false) => {
                let remedy = "write true if it must be there, or leave it out";
                value.wrong(&Mistake::new("cannot be asked", remedy));
                Vec::new()
            }
            None => Vec::new(),
        };
    }
    let Some(mut table) = value.table() else { return Vec::new() };
    let mut read = |key| table.parsed(key, compared).given().map(|text| text.value);
    let equals = read("equals").map(Test::Equals);
    let prefix = read("prefix").map(Test::Prefix);
    let contains = read("contains").map(Test::Contains);
    if !table.said_any() {
        let remedy = "write true if it must be there, or as in { prefix = \"a\" }";
        table.report().error(table.at(), "the condition asks for nothing", remedy);
    }
    [equals, prefix, contains].into_iter().flatten().collect()
}

fn compared(text: &str) -> Result<String, Mistake> {
    match text.len() <= COMPARED_BYTES_MAX && !text.contains(char::is_control) {
        true => Ok(text.to_owned()),
        false => {
            let what = "is nothing that a request could say";
            Err(Mistake::new(what, format!("use at most {COMPARED_BYTES_MAX} visible characters")))
        }
    }
}

fn header_name(text: &str) -> Result<String, Mistake> {
    let name = text.to_ascii_lowercase();
    match &*name {
        _ if !is_token(text) || text.len() > COMPARED_BYTES_MAX => {
            Err(Mistake::new("is no name of a header", "use letters, digits and -"))
        }
        // The host that a request is for may stand elsewhere (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
        "host" => Err(Mistake::new("has a key of its own", "write hosts = [\"..\"] in the route")),
        _ => Ok(name),
    }
}

fn in_lower_case(test: &Test) -> Test {
    match test {
        Test::Present => Test::Present,
        Test::Equals(said) => Test::Equals(said.to_ascii_lowercase()),
        Test::Prefix(said) => Test::Prefix(said.to_ascii_lowercase()),
        Test::Contains(said) => Test::Contains(said.to_ascii_lowercase()),
    }
}

/// RFC 9110 §9.1: they are case-sensitive, and those that everybody knows are in upper case.
fn method(text: &str) -> Result<String, Mistake> {
    const KNOWN: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"];
    let upper = text.to_ascii_uppercase();
    match text {
        _ if !is_token(text) || text.len() > 64 => {
            Err(Mistake::new("is no method", "write one such as \"GET\""))
        }
        _ if text != upper && KNOWN.contains(&&*upper) => {
            Err(Mistake::new("is not how the method is written", format!("write {upper:?}")))
        }
        _ => Ok(text.to_owned()),
    }
}

fn range(text: &str) -> Result<Cidr, Mistake> {
    text.parse().map_err(|wrong: NoCidr| {
        let remedy = match wrong {
            NoCidr::Address => {
                "write one such as \"10.0.0.0/8\", \"192.0.2.1\" or \"2001:db8::/32\""
            }
            NoCidr::Bits => "use 0..=32 bits for IPv4 and 0..=128 for IPv6",
            NoCidr::Beyond => "write the first address of the range, with zeros behind its bits",
        };
        Mistake::new(wrong.to_string(), remedy)
    })
}
