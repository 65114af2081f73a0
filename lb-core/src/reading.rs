//! What else a path could be taken for.
//!
//! On the normal form of a path all agree. Beyond it servers differ: some take `%2F` or `\` for a slash,
//! some cut `;..` off each segment (RFC 3986 §3.3 lets them), some merge slashes that stand together. Who
//! decides by one reading what another one acts on can be walked around, as a framing that two parsers
//! read differently is. Nobody knows here what a backend does, so each of these readings is asked about:
//! `/admin%2fx` is one path to whoever is led to the same place by `/admin%2Fx` and by `/admin/x`.
//!
//! What is not asked: another case, a second decoding (`%252F`), or a reading of one such character among
//! several.

use alloc::borrow::Cow;
use alloc::string::String;

use crate::percent::normal_path;

/// What some servers do to a path. Merging is none of these, since it comes last.
struct Liberty {
    occurs: fn(&str) -> bool,
    take: fn(&str) -> String,
}

/// In the order in which they are taken: a parameter ends at a slash, before or after others become one.
const LIBERTIES: [Liberty; 4] = [
    Liberty { occurs: |path| path.contains(';') && path.contains(['%', '\\']), take: bare },
    Liberty { occurs: |path| path.contains("%2F"), take: |path| path.replace("%2F", "/") },
    Liberty {
        occurs: |path| path.contains('\\') || path.contains("%5C"),
        take: |path| path.replace('\\', "/").replace("%5C", "/"),
    },
    Liberty { occurs: |path| path.contains(';'), take: bare },
];

/// Whether all readings of a path in its normal form are `alike` it, which is asked of each other one.
/// A zero byte, or climbing that its normal form does not show, has no harmless reading.
pub(crate) fn are_alike(path: &str, mut alike: impl FnMut(&str) -> bool) -> bool {
    if !path.starts_with('/') || !may_have_another(path) {
        return true;
    }
    // However often something occurs, there are 31 at most.
    let mut taken = (0..1_usize << LIBERTIES.len()).filter_map(|some| read_with(path, some));
    !path.contains("%00")
        && taken.all(|read| {
            let climbs = read.split('/').any(|segment| segment == "..");
            !climbs
                && (read == path || alike(&normal_path(&read)))
                && (!read.contains("//") || alike(&normal_path(&merged(&read))))
        })
}

/// The path to who takes `some` of the liberties, a bit for each; `None` if there is one among them that
/// has nothing to do.
fn read_with(path: &str, some: usize) -> Option<Cow<'_, str>> {
    let taken = LIBERTIES.iter().enumerate().filter(|(at, _)| some >> at & 1 == 1);
    taken.map(|(_, liberty)| liberty).try_fold(Cow::Borrowed(path), |read, liberty| {
        (liberty.occurs)(&read).then(|| Cow::Owned((liberty.take)(&read)))
    })
}

/// Whether there is anything that has another reading: one pass, for nearly all paths.
fn may_have_another(path: &str) -> bool {
    let mut before = 0;
    path.bytes().enumerate().any(|(at, byte)| {
        let is_doubled = (before, byte) == (b'/', b'/');
        before = byte;
        is_doubled
            || matches!(byte, b'\\' | b';')
            || (byte == b'%' && ["%2F", "%5C", "%00"].iter().any(|it| path[at..].starts_with(it)))
    })
}

/// `/a/b` of `/a;x=1/b;y`.
fn bare(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for segment in path[1..].split('/') {
        out.push('/');
        out.push_str(segment.split(';').next().unwrap_or_default());
    }
    out
}

/// `/a/b/` of `//a///b//`.
fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if !(character == '/' && out.ends_with('/')) {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    /// All that is asked about; whatever it is, it is alike.
    fn read(path: &str) -> Option<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        let are_alike = are_alike(&normal_path(path), |other| {
            all.insert(String::from(other));
            true
        });
        are_alike.then_some(all)
    }

    #[track_caller]
    fn check<const N: usize>(path: &str, others: [&str; N]) {
        assert_eq!(read(path), Some(others.map(String::from).into()), "{path}");
    }

    #[test]
    fn a_path_is_read_in_every_way_that_servers_have() {
        for one in
            ["/", "*", "", "/a/b", "/a%20b/%C3%A9", "/a/../b", "/a:b@c,d", "/%252F", "/a%3Bb"]
        {
            check(one, []);
        }
        check("/admin%2fx", ["/admin/x"]);
        check("/admin\\x", ["/admin/x"]);
        check("/admin%5cx", ["/admin/x"]);
        check("//a///b/", ["/a/b/"]);
        check("/admin;x=1/b;", ["/admin/b"]);
        check("/a/.;/b", ["/a/b"]);
        check("/x//../y", []); // its normal form is /x/y
        // A slash that is merged may be one that another reading makes, and a parameter may end there.
        check("/a/%2Fb", ["/a//b", "/a/b"]);
        check("/a/;x/b", ["/a//b", "/a/b"]);
        check("/a;b%2Fc", ["/a", "/a/c", "/a;b/c"]);
        check("//b%2F;c", ["/b%2F;c", "/b%2F", "/b/;c", "/b/", "//b%2F", "//b/;c", "//b/"]);
    }

    #[test]
    fn what_climbs_in_one_reading_alone_has_no_harmless_one() {
        for path in [
            "/a%00",
            "/a/..%2fb",
            "/a%2f..",
            "/a/%2e%2e%2Fb",
            "/a/..;/b",
            "/..;x=/b",
            "/a/..\\b",
            "/a%5c..%5cb",
            "/a%2f..;b",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
