//! Records and logs: what is read of them, and what is said of what is not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use lb_core::{Outcome, Rng};
use lb_sim::record::{Format, Record, read};

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Everything of a record, a line each; a user by the order in which they came.
fn told(record: &Record) -> String {
    let mut out = String::new();
    let mut users = Vec::new();
    for it in &record.exchanges {
        let user = users.iter().position(|user| *user == it.user).unwrap_or(users.len());
        if user == users.len() {
            users.push(it.user);
        }
        let service = &record.services[usize::from(it.service)];
        write!(out, "{} {service:?} user {user} {:?} ", it.at, it.repeat).unwrap();
        write!(out, "{} {:?} {}", it.status, it.end, it.took).unwrap();
        for attempt in record.attempts_of(it) {
            let backend = attempt.backend.map_or("?", |at| &record.backends[usize::from(at)]);
            let outcome = match attempt.outcome {
                Some(Outcome::Answered(status)) => status.to_string(),
                Some(Outcome::Failed(failure)) => failure.as_str().to_owned(),
                None => "abandoned".to_owned(),
            };
            let took = attempt.took.map_or("?".to_owned(), |took| took.to_string());
            write!(out, " | {backend} {outcome} {}+{took}", attempt.at).unwrap();
        }
        out.push('\n');
    }
    let folder = format!("{}/", env!("CARGO_TARGET_TMPDIR"));
    for mistake in &record.mistakes {
        writeln!(out, "{}", mistake.to_string().replace(&folder, "")).unwrap();
    }
    for note in &record.notes {
        writeln!(out, "note: {}", note.replace(&folder, "")).unwrap();
    }
    out
}

/// What is read of a log, whose format is found out.
fn check(name: &str, text: &str, expected: &Expect) {
    expected.assert_eq(&told(&read(&[file(name, text)], None).unwrap()));
}

/// What of a log is not understood.
fn check_mistakes(name: &str, text: &str, expected: &Expect) {
    let Record { mistakes, .. } = read(&[file(name, text)], Some(Format::Combined)).unwrap();
    let told: Vec<String> = mistakes.iter().map(|it| format!("{it}\n")).collect();
    let folder = format!("{}/", env!("CARGO_TARGET_TMPDIR"));
    expected.assert_eq(&told.concat().replace(&folder, ""));
}

/// Why it cannot be read.
fn refused(name: &str, text: &str, format: Option<Format>, expected: &Expect) {
    let why = read(&[file(name, text)], format).unwrap_err();
    let folder = format!("{}/", env!("CARGO_TARGET_TMPDIR"));
    expected.assert_eq(&why.replace(&folder, ""));
}

const HEAD: &str = "{\"lb_record\":1,\"table\":\"00000000000000aa\",\"began_us\":1700000000000000,\
    \"services\":[{\"name\":\"web\",\"backends\":[\"http://a\",\"http://b\"]}]}";

#[test]
fn a_record_of_ours_is_read_in_the_order_of_arrival() {
    let text = format!(
        "{HEAD}\n\
         2000000 0 s 00000000000000ff 200 c 1500 0 10 0:200:0:1400\n\
         1000000 0 o - 200 c 5000 77 10 0:connect_refused:10:90,1:503:200:1000,0:200:1300:3000\n\
         3000000 0 i 00000000000000ff 499 l 700 0 0 1:abandoned:0:700\n\
         4000000 0 s 00000000000000fe 503 r 20 0 60 -\n"
    );
    check(
        "ours.lb",
        &text,
        &expect![[r#"
        0 "web" user 0 Once 200 Complete 5000 | http://a connect_refused 10+90 | http://b 503 200+1000 | http://a 200 1300+3000
        1000000 "web" user 1 Safe 200 Complete 1500 | http://a 200 0+1400
        2000000 "web" user 1 Idempotent 499 Left 700 | http://b abandoned 0+700
        3000000 "web" user 2 Safe 503 Ours 20
    "#]],
    );
}

#[test]
fn tables_come_and_go_as_configurations_and_processes_do() {
    let other = HEAD.replace("aa\"", "bb\"").replace("http://a", "http://c");
    let line = "1 0 s - 200 c 1 0 0 0:200:0:1";
    let text = format!(
        "{HEAD}\n{line}\n{other}\n2{line}\n@00000000000000aa\n3{line}\n@00000000000000cc\n4{line}\n\
         @00000000000000bb\n{}",
        format!("5{line}\n").repeat(20)
    );
    let record = read(&[file("tables.lb", &text)], None).unwrap();
    assert_eq!(record.backends, ["http://a", "http://b", "http://c"]);
    let asked: Vec<_> = record.attempts.iter().map(|it| it.backend.unwrap()).collect();
    assert_eq!(asked[..4], [0, 2, 0, 2]);
    assert_eq!(record.mistakes.len(), 2, "{:?}", record.mistakes);
}

#[test]
fn each_kind_of_garbage_is_told_once_with_its_first_line_and_nothing_else_is_lost() {
    let good = "1000000 0 s - 200 c 1500 0 10 0:200:0:1400\n".repeat(60);
    let text = format!(
        "{HEAD}\n{good}1000000 0 s - 200 c 15\n1000000 7 s - 200 c 1500 0 10 -\nGET / HTTP/1.1\n\
         1000000 0 s - 200 c 1500 0 10 0:200:0:1400 more\n1000000 0 s - 200 c 9\n"
    );
    let record = read(&[file("garbage.lb", &text)], None).unwrap();
    assert_eq!(record.exchanges.len(), 60);
    let told: Vec<String> = record.mistakes.iter().map(ToString::to_string).collect();
    let folder = format!("{}/", env!("CARGO_TARGET_TMPDIR"));
    expect![[r#"
        garbage.lb:62:23: the line does not say how much was sent; it was cut short or changed; the others do not need it (and one more line)
        garbage.lb:63:11: the line names a service that its header does not have; give lb-sim the whole file, with the line that begins with {
        garbage.lb:64:1: the line has no time of arrival; it was cut short or changed; the others do not need it
        garbage.lb:65:43: the line goes on where it should end; it was cut short or changed; the others do not need it
    "#]].assert_eq(&(told.join("\n").replace(&folder, "") + "\n"));
}

#[test]
fn what_is_of_another_version_or_another_kind_is_refused() {
    let later = HEAD.replace("\"lb_record\":1", "\"lb_record\":2");
    refused(
        "later.lb",
        &later,
        None,
        &expect![
            "later.lb:1:1: the line is of a format version that is not 1; use the lb-sim that came with the lb-server"
        ],
    );
    refused(
        "empty.lb",
        "",
        None,
        &expect!["empty.lb: is empty; give a record of lb-server or an access log"],
    );
    refused(
        "none.txt",
        "some\nother\ntext\n",
        None,
        &expect![
            "none.txt:1:1: no line of the first 3 is of a known format; say which with --format: record, access-log, haproxy, combined"
        ],
    );
    let half = format!("{HEAD}\n1 0 s - 200 c 1 0 0 -\nwhat\n");
    refused(
        "half.lb",
        &half,
        None,
        &expect![[r#"
        half.lb: 1 of 3 lines are not understood as record, which is more than 10 %; take them out, or say another --format
        half.lb:3:1: the line has no time of arrival; it was cut short or changed; the others do not need it"#]],
    );
    refused(
        "wrong.log",
        &half,
        Some(Format::Haproxy),
        &expect![[r#"
        wrong.log: no exchange in 3 lines, read as haproxy; give another file, or the right --format
        wrong.log:1:1: the line names no client before a date; the format is that of HAProxy's option httplog (and 2 more lines)"#]],
    );
    assert!(read(&[PathBuf::from("/nowhere/a.log")], None).is_err());
}

#[test]
fn our_access_log_is_read() {
    let text = r#"{"time":"2026-11-21T10:00:00.500Z","request_id":"1","client":"203.0.113.7:4000","method":"GET","host":"a","path":"/c","service":"web","status":200,"end":"complete","duration_ms":12.5,"bytes_in":0,"bytes_out":5,"attempts":[{"backend":"http://a","outcome":"answered","status":503,"ms":2.0,"why":{}},{"backend":"http://b","outcome":"answered","status":200,"ms":10.0,"why":{}}]}
{"time":"2026-11-21T10:00:00.250Z","request_id":"2","client":"203.0.113.7:4001","method":"POST","host":"a","path":"/","service":"web","status":502,"reason":"reset","duration_ms":3.0,"bytes_in":9,"bytes_out":0,"attempts":[{"backend":"http://a","outcome":"reset","ms":3.0,"why":{}}]}
{"time":"2026-11-21T10:00:01.000Z","request_id":"3","client":"203.0.113.8:1","method":"GET","host":"a","path":"/","service":"web","status":499,"duration_ms":7.0,"bytes_in":0,"bytes_out":0,"attempts":[{"backend":"http://b","outcome":"abandoned","why":{}}]}
{"time":"2026-11-21T10:00:02.000Z","request_id":"4","client":"203.0.113.9:1","method":null,"host":null,"path":null,"service":null,"status":400,"reason":"bad_host","duration_ms":0.1,"bytes_in":0,"bytes_out":0,"attempts":[]}
{"time":"2026-11-21T10:00:02.250Z","request_id":"5","client":"203.0.113.8:1","method":"GET","host":"a","path":"/","service":"web","status":503,"reason":"drained","duration_ms":8.0,"bytes_in":0,"bytes_out":0,"attempts":[{"backend":"http://b","outcome":"abandoned","why":{}}]}
"#;
    check(
        "access.log",
        text,
        &expect![[r#"
        0 "web" user 0 Once 502 Ours 3000 | http://a reset 0+3000
        250000 "web" user 0 Safe 200 Complete 12500 | http://a 503 0+2000 | http://b 200 2000+10000
        750000 "web" user 1 Safe 499 Left 7000 | http://b abandoned 0+7000
        2000000 "web" user 1 Safe 503 Broken 8000 | http://b abandoned 0+8000
        note: access.log: left out, since no service was asked before they were answered: 1
    "#]],
    );
    let whole = text.repeat(6);
    let cut = format!("{whole}{{\"time\":\"2026-11-21T10\n{{\"status\":true}}\n");
    let record = read(&[file("cut.log", &cut)], None).unwrap();
    assert_eq!((record.exchanges.len(), record.mistakes.len()), (24, 2), "{:?}", record.mistakes);
}

#[test]
fn the_combined_log_is_read_with_what_nginx_knows_of_upstreams() {
    let text = "\
203.0.113.7 - - [10/Oct/2000:13:55:36 -0700] \"GET /a?b=c HTTP/1.1\" 200 2326 \"-\" \"Mozilla/5.0 (X)\" 0.012 0.010 10.0.0.1:80
203.0.113.8 - ann [10/Oct/2000:13:55:36 -0700] \"POST / HTTP/1.1\" 200 5 \"http://a/\\\"b\" \"-\" 0.020 0.001, 0.018 10.0.0.1:80, 10.0.0.2:80
203.0.113.7 - - [10/Oct/2000:13:55:37 -0700] \"GET / HTTP/1.1\" 499 0 \"-\" \"-\" rt=1.500 urt=\"1.500\" ua=\"10.0.0.1:80\" us=\"-\"
203.0.113.7 - - [10/Oct/2000:13:55:38 -0700] \"GET / HTTP/1.1\" 504 0 \"-\" \"-\" rt=3.000 urt=\"3.000\" ua=\"10.0.0.1:80\" us=\"504\"
";
    check(
        "nginx.log",
        text,
        &expect![[r#"
        0 "" user 0 Safe 504 Complete 3000000 | 10.0.0.1:80 first_byte_timeout 0+3000000
        500000 "" user 0 Safe 499 Left 1500000 | 10.0.0.1:80 abandoned 0+1500000
        738000 "" user 0 Safe 200 Complete 12000 | 10.0.0.1:80 200 0+10000
        1230000 "" user 1 Once 200 Complete 20000 | 10.0.0.1:80 reset 0+1000 | 10.0.0.2:80 200 1000+18000
        note: nginx.log: arrivals are known to the second, and spread evenly over it
    "#]],
    );
}

#[test]
fn a_client_is_no_upstream_and_an_unknown_time_is_none() {
    let date = "- - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"";
    let text = format!("10.9.9.9 {date} \"2001:db8::1\"\n10.9.9.9 {date} \"198.51.100.7:1234\"\n");
    check(
        "main6.log",
        &text,
        &expect![[r#"
            0 "" user 0 Safe 200 Ours 0
            500000 "" user 0 Safe 200 Ours 0
            note: main6.log: arrivals are known to the second, and spread evenly over it; it says nothing of how long anything took
        "#]],
    );
    let text = format!(
        "10.9.9.9 {date} ua=\"[2001:db8::1]:80\"\n\
         10.9.9.9 {date} 0.105 -, 0.100 10.0.0.2:80, 10.0.0.1:80\n\
         10.9.9.9 {date} 0.105 10.0.0.2:80, 10.0.0.1:80\n\
         10.9.9.9 {date} rt=0.105 ua=10.0.0.1:80\n"
    );
    check(
        "untimed.log",
        &text,
        &expect![[r#"
            0 "" user 0 Safe 200 Complete 0 | [2001:db8::1]:80 200 0+?
            145000 "" user 0 Safe 200 Complete 105000 | 10.0.0.2:80 reset 0+5000 | 10.0.0.1:80 200 5000+100000
            395000 "" user 0 Safe 200 Complete 105000 | 10.0.0.2:80 reset 0+? | 10.0.0.1:80 200 0+?
            645000 "" user 0 Safe 200 Complete 105000 | 10.0.0.1:80 200 0+105000
            note: untimed.log: arrivals are known to the second, and spread evenly over it
        "#]],
    );
    let text = format!(
        "a.example:443 198.51.100.1 {date}\n\
                        a.example:443 2001:db8::2 {date}\n198.51.100.1 {date}\n"
    );
    check(
        "vhost.log",
        &text,
        &expect![[r#"
            0 "" user 0 Safe 200 Ours 0
            333334 "" user 1 Safe 200 Ours 0
            666667 "" user 0 Safe 200 Ours 0
            note: vhost.log: arrivals are known to the second, and spread evenly over it; it says nothing of how long anything took
        "#]],
    );
}

#[test]
fn what_a_proxy_answered_itself_is_left_out_beside_what_it_asked() {
    let line = |status: u16, more: &str| {
        format!(
            "10.9.9.9 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" {status} 5 \"-\" \"-\" {more}\n"
        )
    };
    let own = "rt=0.000 urt=\"-\" ua=\"-\"";
    let text = [
        line(200, "rt=0.100 urt=\"0.100\" ua=\"10.0.0.1:80\""),
        line(200, own),
        line(304, own),
        line(429, own),
        line(503, own),
    ];
    check(
        "own.log",
        &text.concat(),
        &expect![[r#"
            0 "" user 0 Safe 200 Complete 100000 | 10.0.0.1:80 200 0+100000
            700000 "" user 0 Safe 429 Ours 0
            900000 "" user 0 Safe 503 Ours 0
            note: own.log: left out, since the proxy answered them itself: 2
            note: own.log: arrivals are known to the second, and spread evenly over it
        "#]],
    );
    let text = "\
10.0.1.2:1 [06/Feb/2009:12:14:15.000] fe app/srv1 0/0/1/4/5 200 900 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"
10.0.1.2:1 [06/Feb/2009:12:14:15.100] fe app/<CACHE> 0/0/0/0/0 200 900 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"
10.0.1.2:1 [06/Feb/2009:12:14:15.200] fe app/<NOSRV> 0/-1/-1/-1/0 302 90 - - LR-- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"
10.0.1.2:1 [06/Feb/2009:12:14:15.300] fe app/srv1 0/-1/-1/-1/900 503 90 - - CQ-- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"
";
    check(
        "own_haproxy.log",
        text,
        &expect![[r#"
            0 "app" user 0 Safe 200 Complete 5000 | srv1 200 0+5000
            300000 "app" user 0 Safe 503 Left 900000
            note: own_haproxy.log: left out, since the proxy answered them itself: 2
        "#]],
    );
}

#[test]
fn a_line_that_is_too_long_is_one_line_and_a_file_of_gzip_is_told_as_such() {
    let good = "10.9.9.9 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 200 5\n".repeat(60);
    let long = "x".repeat(3 * 1024 * 1024 + 5);
    // The second is as long as a line may be, and the third has one byte more.
    let [most, more] = [0, 1].map(|more| "x".repeat(1024 * 1024 + more));
    let text = format!("{good}{long}\n{most}\n{more}\nwhat\n");
    check_mistakes(
        "long.log",
        &text,
        &expect![[r#"
            long.log:61:1: the line is longer than 1 MiB; it is no line of a log (and one more line)
            long.log:62:1048577: the line has no possible date in brackets; the combined format is client - user [date] "request" status bytes (and one more line)
        "#]],
    );
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("packed.log.gz");
    fs::write(&path, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03").unwrap();
    for format in [None, Some(Format::Combined)] {
        let why = read(std::slice::from_ref(&path), format).unwrap_err();
        let folder = format!("{}/", env!("CARGO_TARGET_TMPDIR"));
        expect!["packed.log.gz: is compressed with gzip; unpack it first: zcat packed.log.gz > access.log"]
            .assert_eq(&why.replace(&folder, ""));
    }
}

#[test]
fn the_combined_log_of_apache_says_less() {
    let text = "\
203.0.113.7 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 2326
::1 - - [10/Oct/2000:13:55:36 -0700] \"-\" 408 -
203.0.113.7 - - [10/Oct/2000:13:55:37 -0700] \"GET / HTTP/1.0\" 200 2326 \"http://a/\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"
";
    check(
        "apache.log",
        text,
        &expect![[r#"
        0 "" user 0 Safe 200 Ours 0
        500000 "" user 1 Once 408 Ours 0
        1250000 "" user 0 Safe 200 Ours 0
        note: apache.log: arrivals are known to the second, and spread evenly over it; it says nothing of how long anything took
    "#]],
    );
    let garbage = text.repeat(10) + "203.0.113.7 - - [never] \"GET /\" 200 1\nx\ny\n";
    let record = read(&[file("garbage.log", &garbage)], None).unwrap();
    assert_eq!(record.exchanges.len(), 30);
    expect![[r#"
        [
            (
                31,
                "has no possible date in brackets",
                3,
            ),
        ]"#]]
    .assert_eq(&format!(
        "{:#?}",
        record.mistakes.iter().map(|it| (it.line, it.what, it.count)).collect::<Vec<_>>()
    ));
}

#[test]
fn the_log_of_haproxy_is_read_with_and_without_syslog() {
    let text = "\
Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} \"GET /index.html HTTP/1.1\"
10.0.1.3:33318 [06/Feb/2009:12:14:14.700] http-in~ static/srv2 0/5/1/-1/3006 504 194 - - sH-- 1/1/1/1/0 0/0 \"POST /slow HTTP/1.1\"
10.0.1.2:33319 [06/Feb/2009:12:14:15.000] http-in static/srv1 0/0/-1/-1/12 503 212 - - SC-- 1/1/1/1/3 0/0 \"GET / HTTP/1.1\"
10.0.1.2:33319 [06/Feb/2009:12:14:15.100] http-in static/<NOSRV> 0/-1/-1/-1/0 503 212 - - SC-- 1/1/1/0/0 0/0 \"GET / HTTP/1.1\"
10.0.1.2:33319 [06/Feb/2009:12:14:15.200] http-in static/srv1 0/0/1/-1/20 -1 0 - - CH-- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"
10.0.1.2:33319 [06/Feb/2009:12:14:15.300] http-in static/srv1 0/0/1/5/500 200 900 - - SD-- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"
";
    check(
        "haproxy.log",
        text,
        &expect![[r#"
        0 "static" user 0 Safe 200 Complete 99000 | srv1 200 0+99000
        35000 "static" user 1 Once 504 Ours 3006000 | srv2 first_byte_timeout 5000+3001000
        335000 "static" user 0 Safe 503 Ours 12000 | srv1 connect_refused 0+12000
        435000 "static" user 0 Safe 503 Ours 0
        535000 "static" user 0 Safe 499 Left 20000 | srv1 abandoned 0+20000
        635000 "static" user 0 Safe 200 Broken 500000 | srv1 200 0+6000
    "#]],
    );
    let mixed = text.repeat(10)
        + "Feb  6 12:12:09 localhost haproxy[14385]: Proxy http-in started.\n\
           Feb  6 12:12:09 localhost haproxy[14385]: Connect from 10.0.1.2:33312 to 10.0.3.31:8012 (www/HTTP)\n\
           10.0.1.2:1 [06/Feb/2009:12:14:15.300] http-in static/srv1 0/0 200 900 - - ---- 1/1 0/0 \"GET /\"\n";
    let record = read(&[file("mixed.log", &mixed)], None).unwrap();
    assert_eq!(record.exchanges.len(), 60);
    expect![[r#"
        [
            (
                61,
                "names no client before a date",
                2,
            ),
            (
                63,
                "has no times TR/Tw/Tc/Tr/Ta",
                1,
            ),
        ]"#]]
    .assert_eq(&format!(
        "{:#?}",
        record.mistakes.iter().map(|it| (it.line, it.what, it.count)).collect::<Vec<_>>()
    ));
}

#[test]
fn several_files_are_one_record() {
    let later = HEAD.replace("1700000000000000", "1700000001000000");
    let line = "0 0 s - 200 c 1 0 0 0:200:0:1";
    let files =
        [file("b.lb", &format!("{later}\n{line}\n")), file("a.lb", &format!("{HEAD}\n{line}\n"))];
    let record = read(&files, None).unwrap();
    let at: Vec<u64> = record.exchanges.iter().map(|it| it.at).collect();
    assert_eq!(at, [0, 1_000_000]);
    assert_eq!(record.backends.len(), 2);
}

#[test]
fn a_log_that_was_just_turned_over_is_no_mistake_beside_the_one_before() {
    let full = file("turned.lb.1", &format!("{HEAD}\n0 0 s - 200 c 1 0 0 0:200:0:1\n"));
    let empty = file("turned.lb", "");
    let record = read(&[full, empty.clone()], None).unwrap();
    assert_eq!(record.exchanges.len(), 1);
    assert!(record.notes[0].ends_with("turned.lb: is empty"), "{:?}", record.notes);
    let why = read(&[empty.clone(), empty], None).unwrap_err();
    assert!(why.ends_with("is empty; give a record of lb-server or an access log"), "{why}");
}

#[test]
fn what_an_editor_puts_before_a_text_is_no_part_of_its_first_line() {
    let line = "10.9.9.9 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 200 5\n";
    let record = read(&[file("marked.log", &format!("\u{feff}{line}{line}"))], None).unwrap();
    assert_eq!((record.exchanges.len(), record.mistakes.len()), (2, 0));
}

#[test]
fn times_that_are_far_apart_are_refused() {
    let text = format!("{HEAD}\n0 0 s - 200 c 1 0 0 -\n9999999999999 0 s - 200 c 1 0 0 -\n");
    refused(
        "apart.lb",
        &text,
        None,
        &expect![
            "apart.lb:2, apart.lb:3: the first and the last exchange are 115 days apart, and at most 31 can be replayed; give files of one time, without lines of another"
        ],
    );
}

#[test]
fn no_line_makes_a_reader_panic() {
    let native =
        "1000000 0 o 00000000000000ff 200 c 5000 77 10 0:connect_refused:10:90,1:503:200:1000";
    let access = r#"{"time":"2026-11-21T10:00:00.500Z","client":"203.0.113.7:4000","method":"GET","service":"web","status":200,"end":"complete","duration_ms":12.5,"bytes_in":0,"attempts":[{"backend":"http://a","outcome":"answered","status":503,"ms":2.0}]}"#;
    let combined = r#"203.0.113.8 - ann [10/Oct/2000:13:55:36 -0700] "POST / HTTP/1.1" 200 5 "-" "-" rt=0.020 0.001, 0.018 10.0.0.1:80, 10.0.0.2:80 ua="10.0.0.1:80""#;
    let haproxy = r#"h[1]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {} "GET / HTTP/1.1""#;
    let mut dice = Rng::stream(7, 7);
    let mut below = |bound: usize| usize::try_from(dice.next_u64() % bound as u64).unwrap();
    for (format, line) in Format::ALL.into_iter().zip([native, access, haproxy, combined]) {
        let mut text = format!("{HEAD}\n").into_bytes();
        for _ in 0..5_000 {
            let mut line = line.as_bytes().to_vec();
            for _ in 0..=below(3) {
                let at = below(line.len());
                match below(4) {
                    0 => line[at] = b"0189-+:/,. \"[]{}@\xff\\"[below(19)],
                    1 if line.len() > 1 => drop(line.remove(at)),
                    2 => line.splice(at..at, *b"99999999999999").for_each(drop),
                    _ => line.truncate(at.max(1)),
                }
            }
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutated.log");
        fs::write(&path, text).unwrap();
        // Whether it is good enough to be replayed does not matter here.
        let why = read(&[path], Some(format)).err().unwrap_or_default();
        assert!(why.is_empty() || why.contains("mutated.log"), "{why}");
    }
}
