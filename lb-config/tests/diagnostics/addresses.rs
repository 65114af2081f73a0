//! Listeners, hosts and backend urls.

use expect_test::expect;

use crate::{SOUND, check, check_backends, check_each, check_hosts, check_top};

#[test]
fn listeners_do_not_overlap() {
    check_top(
        "[[listener]]\nbind = \"0.0.0.0:8080\"",
        expect![[r#"
        lb.toml:4:8: bind 0.0.0.0:8080 overlaps with 0.0.0.0:8080 at lb.toml:2:8; remove one of the two or change its port
    "#]],
    );
    check_top(
        "[[listener]]\nbind = \"127.0.0.1:8080\"",
        expect![[r#"
        lb.toml:4:8: bind 0.0.0.0:8080 overlaps with 127.0.0.1:8080 at lb.toml:2:8; remove one of the two or change its port
    "#]],
    );
    check_top(
        "[[listener]]\nbind = \"[::]:8080\"\n[[listener]]\nbind = \"[::1]:8081\"",
        expect![[""]],
    );
    check_top(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[[listener]]\nbind = \"127.0.0.1:0\"",
        expect![[""]],
    );
    check_top(
        "[[listener]]\nbind = \"0.0.0.0:9090\"",
        expect![[r#"
        lb.toml:2:8: bind 0.0.0.0:9090 overlaps with the admin listener at 127.0.0.1:9090; change the port, or set bind in [admin] to another one
    "#]],
    );
    check_top(
        "[admin]\nbind = \"127.0.0.1:8080\"",
        expect![[r#"
        lb.toml:2:8: bind 127.0.0.1:8080 overlaps with 0.0.0.0:8080 at lb.toml:4:8; change the port of the admin listener
    "#]],
    );
    check_top("[admin]\nenabled = false\n[[listener]]\nbind = \"0.0.0.0:9090\"", expect![[""]]);
}

#[test]
fn an_address_to_listen_at_is_an_ip_and_a_port() {
    let texts = [":80", "localhost:80", "0.0.0.0", "[::]", "example.com:80", "0.0.0.0:65536"]
        .map(|bind| SOUND.replace("0.0.0.0:8080", bind));
    check_each(
        &texts,
        expect![[r#"
        lb.toml:2:8: bind ":80" has no address; write "0.0.0.0:80"
        lb.toml:2:8: bind "localhost:80" is a name and not an address; write "127.0.0.1:80"
        lb.toml:2:8: bind "0.0.0.0" has no port; write "0.0.0.0:8080"
        lb.toml:2:8: bind "[::]" has no port; write "[::]:8080"
        lb.toml:2:8: bind "example.com:80" is not an address with a port; write one such as "0.0.0.0:8080" or "[::]:8080"
        lb.toml:2:8: bind "0.0.0.0:65536" is not an address with a port; write one such as "0.0.0.0:8080" or "[::]:8080"
    "#]],
    );
}

#[test]
fn hosts_are_names_without_ports_and_claimed_once() {
    check_hosts(
        "['*', '*.example.com', 'Example.com', '10.0.0.1', '::1', '[::2]', 'my_host']",
        expect![[""]],
    );
    check_hosts(
        "['example.com:80', '[::1]:80', '10.0.0.1:1', 'http://a.b', 'a.b/', '', 'a..b', '-a.b', 'a b', 'é.fr']",
        expect![[r#"
            lb.toml:6:10: hosts "example.com:80" has a port; write "example.com": a service is found by host alone
            lb.toml:6:28: hosts "[::1]:80" has a port; write "[::1]": a service is found by host alone
            lb.toml:6:40: hosts "10.0.0.1:1" has a port; write "10.0.0.1": a service is found by host alone
            lb.toml:6:54: hosts "http://a.b" is a url and not a host; write the host alone
            lb.toml:6:68: hosts "a.b/" is not a host name; use labels of a-z, 0-9, - and _ with dots between, none empty or longer than 63
            lb.toml:6:76: hosts "" is empty; write a host name or an address
            lb.toml:6:80: hosts "a..b" is not a host name; use labels of a-z, 0-9, - and _ with dots between, none empty or longer than 63
            lb.toml:6:88: hosts "-a.b" is not a host name; use labels of a-z, 0-9, - and _ with dots between, none empty or longer than 63
            lb.toml:6:96: hosts "a b" is not a host name; use labels of a-z, 0-9, - and _ with dots between, none empty or longer than 63
            lb.toml:6:103: hosts "é.fr" has letters beyond ASCII; write its punycode form, xn--..
        "#]],
    );
    check_hosts(
        "['a.*.com', '*a.com', '*.10.0.0.1', '*.', '10.0.0.256', '1.2.3', 'a.b.']",
        expect![[r#"
            lb.toml:6:10: hosts "a.*.com" has a * that is not its whole first label; write "*" for any host or "*.example.com" for those below one
            lb.toml:6:21: hosts "*a.com" has a * that is not its whole first label; write "*" for any host or "*.example.com" for those below one
            lb.toml:6:31: hosts "*.10.0.0.1" is a wildcard over an address; write "*" or a whole address
            lb.toml:6:45: hosts "*." is empty; write a host name or an address
            lb.toml:6:51: hosts "10.0.0.256" is not an IPv4 address; write four numbers in 0..=255
            lb.toml:6:65: hosts "1.2.3" is not an IPv4 address; write four numbers in 0..=255
            lb.toml:6:74: hosts "a.b." ends in a dot; write "a.b"
        "#]],
    );
    check_hosts(
        "['a.b', 'A.B', '::1', '[0::1]']",
        expect![[r#"
        lb.toml:6:17: host "a.b" is claimed already at lb.toml:6:10; remove one of the two: a host leads to one service
        lb.toml:6:31: host "[::1]" is claimed already at lb.toml:6:24; remove one of the two: a host leads to one service
    "#]],
    );
    let second = "[[service]]\nname = 'other'\nhosts = ['*']\npool = [{ backends = [{ url = 'http://a' }] }]";
    check(
        &format!("{SOUND}{second}"),
        expect![[r#"
        lb.toml:12:10: host "*" is claimed already at lb.toml:6:10; remove one of the two: a host leads to one service
    "#]],
    );
}

#[test]
fn a_backend_is_a_url_of_scheme_host_and_port() {
    check_backends(
        "[{ url = 'http://a' }, { url = 'HTTP://B:81/' }, { url = 'http://[::1]:3' }, { url = 'http://my_app' }, { url = 'https://a' }, { url = 'HTTPS://b:8443/' }]",
        expect![[""]],
    );
    let texts = [
        "https://a/api",
        "a:3000",
        "ftp://a",
        "http://",
        "http://a/api",
        "http://a?x=1",
        "http://a//",
        "http://me:secret@a",
        "http://a:0",
        "http://a:65536",
        "http://a:",
        "http://a:+80",
        "http://::1:80",
        "http://[::1",
        "http://[::1]80",
        "http://a b",
        "http://10.0.0.256",
        "http://*.a",
    ]
    .map(|url| SOUND.replace("http://10.0.0.1:3000", url));
    check_each(
        &texts,
        expect![[r#"
            lb.toml:9:21: url "https://a/api" has more than a host and a port; write "https://a"
            lb.toml:9:21: url "a:3000" has no scheme; begin with http:// or https://
            lb.toml:9:21: url "ftp://a" has an unknown scheme; use http:// or https://
            lb.toml:9:21: url "http://" has a host that is empty; write a host name or an address
            lb.toml:9:21: url "http://a/api" has more than a host and a port; write "http://a"
            lb.toml:9:21: url "http://a?x=1" has more than a host and a port; write "http://a"
            lb.toml:9:21: url "http://a//" has more than a host and a port; write "http://a"
            lb.toml:9:21: url "http://..@a" has a user name, which backends are not sent; write "http://a"
            lb.toml:9:21: url "http://a:0" has a port that is not a number in 1..=65535; write one, as in "http://host:3000"
            lb.toml:9:21: url "http://a:65536" has a port that is not a number in 1..=65535; write one, as in "http://host:3000"
            lb.toml:9:21: url "http://a:" has a port that is not a number in 1..=65535; write one, as in "http://host:3000"
            lb.toml:9:21: url "http://a:+80" has a port that is not a number in 1..=65535; write one, as in "http://host:3000"
            lb.toml:9:21: url "http://::1:80" has several colons; put an IPv6 address in brackets, as in "http://[::1]:80"
            lb.toml:9:21: url "http://[::1" has several colons; put an IPv6 address in brackets, as in "http://[::1]:80"
            lb.toml:9:21: url "http://[::1]80" has a port that is not a number in 1..=65535; write one, as in "http://host:3000"
            lb.toml:9:21: url "http://a b" has a host that is not a host name; use labels of a-z, 0-9, - and _ with dots between, none empty or longer than 63
            lb.toml:9:21: url "http://10.0.0.256" has a host that is not an IPv4 address; write four numbers in 0..=255
            lb.toml:9:21: url "http://*.a" has a host that is not a host name; use labels of a-z, 0-9, - and _ with dots between, none empty or longer than 63
        "#]],
    );
}
