//! The PROXY protocol: bytes in, ends out, and back.

use std::pin::Pin;
use std::task::{Context, Poll};

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::*;

/// A connection that hands out its bytes in pieces of these lengths, over and over, and then ends.
struct Cut {
    bytes: Vec<u8>,
    at: usize,
    pieces: Vec<usize>,
    next: usize,
}

impl Io for Cut {}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = self.pieces[self.next].min(buf.remaining());
        self.next = (self.next + 1) % self.pieces.len();
        let end = (self.at + piece).min(self.bytes.len());
        buf.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

type Taken = Result<(Option<Ends>, Vec<u8>), Flaw>;

/// What [`accept`] makes of a connection, and all that is left on it then.
fn take(bytes: &[u8], pieces: &[usize]) -> Taken {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let cut = Cut { bytes: bytes.to_vec(), at: 0, pieces: pieces.to_vec(), next: 0 };
        let (ends, mut io) = accept(Box::new(cut)).await?;
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        Ok((ends, rest))
    })
}

fn check(bytes: &[u8], expected: &Expect) {
    let found = match take(bytes, &[bytes.len().max(1)]) {
        Ok((Some(Ends { source, destination }), rest)) => {
            format!("{source} to {destination}, then {:?}", String::from_utf8_lossy(&rest))
        }
        Ok((None, rest)) => format!("nobody, then {:?}", String::from_utf8_lossy(&rest)),
        Err(flaw) => flaw.to_string(),
    };
    expected.assert_eq(&found);
}

/// A header of version 2 with this command and family, around this block.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2_BEGIN, &[command, family], &length, block].concat()
}

/// 192.0.2.1:4711 to 203.0.113.9:443.
const BLOCK: [u8; 12] = [192, 0, 2, 1, 203, 0, 113, 9, 0x12, 0x67, 1, 0xbb];

#[test]
fn a_line_names_both_ends_and_ends_where_it_ends() {
    check(
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 443\r\nGET / HTTP/1.1\r\n",
        &expect![[r#"192.0.2.1:4711 to 203.0.113.9:443, then "GET / HTTP/1.1\r\n""#]],
    );
    check(
        b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n",
        &expect![[r#"[2001:db8::1]:65535 to [::1]:0, then """#]],
    );
    check(
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:203.0.113.9 1 2\r\n\r\n",
        &expect![[r#"192.0.2.1:1 to 203.0.113.9:2, then "\r\n""#]],
    );
    check(b"PROXY UNKNOWN\r\nx", &expect![[r#"nobody, then "x""#]]);
    check(b"PROXY UNKNOWN whatever \xff\n 1\r\nx", &expect![[r#"nobody, then "x""#]]);
}

#[test]
fn a_line_in_other_words_is_refused() {
    let wrong: [&[u8]; 14] = [
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 443 \r\n",
        b"PROXY TCP4 192.0.2.1  203.0.113.9 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 443 5\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 65536\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 +4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 04711 443\r\n",
        b"PROXY TCP4 192.0.2.01 203.0.113.9 4711 443\r\n",
        b"PROXY TCP4 2001:db8::1 203.0.113.9 4711 443\r\n",
        b"PROXY TCP6 192.0.2.1 203.0.113.9 4711 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 fe80::2 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 443\n\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.9 4711 443\r\r\n",
        b"PROXY \xff\r\n",
    ];
    for line in wrong {
        assert_eq!(take(line, &[200]), Err(Flaw::Line), "{}", String::from_utf8_lossy(line));
    }
    for line in [&b"PROXY UDP4 192.0.2.1 203.0.113.9 4711 443\r\n"[..], b"PROXY tcp4 1 1 1 1\r\n"] {
        assert_eq!(take(line, &[200]), Err(Flaw::Family));
    }
    for line in
        [&b"GET / HTTP/1.1\r\n"[..], b"proxy TCP4", b"PROXYTCP4", b"\r\n\r\nGET", b"\x16\x03"]
    {
        assert_eq!(take(line, &[200]), Err(Flaw::NoHeader));
    }
    assert_eq!(take(b"", &[1]), Err(Flaw::Ended));
    assert_eq!(take(b"PROXY TCP4 192.0.2.1", &[1]), Err(Flaw::Ended));
}

#[test]
fn the_longest_line_has_107_bytes() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "f".repeat(length - 16));
    assert_eq!(line(107).len(), 107);
    assert_eq!(take(line(107).as_bytes(), &[7]), Ok((None, Vec::new())));
    assert_eq!(take(line(108).as_bytes(), &[7]), Err(Flaw::TooLong));
}

#[test]
fn a_binary_header_names_both_ends() {
    let mut bytes = binary(0x21, 0x11, &BLOCK);
    bytes.extend_from_slice(b"GET /");
    check(&bytes, &expect![[r#"192.0.2.1:4711 to 203.0.113.9:443, then "GET /""#]]);
    let v6 =
        [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[0, 80, 1, 0xbb]].concat();
    check(&binary(0x21, 0x21, &v6), &expect![[r#"[2001:db8::1]:80 to [::1]:443, then """#]]);
    // LOCAL says nothing whatever it says; a Unix socket, a datagram and UNSPEC have no address.
    check(&binary(0x20, 0x00, &[]), &expect![[r#"nobody, then """#]]);
    check(&binary(0x20, 0xff, b"any bytes at all"), &expect![[r#"nobody, then """#]]);
    check(&binary(0x21, 0x00, b"any bytes at all"), &expect![[r#"nobody, then """#]]);
    check(&binary(0x21, 0x12, &BLOCK), &expect![[r#"nobody, then """#]]);
    check(&binary(0x21, 0x31, &[b'/'; 216]), &expect![[r#"nobody, then """#]]);
}

#[test]
fn a_binary_header_that_is_none_is_refused() {
    let flaw = |bytes: &[u8]| take(bytes, &[5]).expect_err("it is wrong");
    assert_eq!(flaw(&binary(0x11, 0x11, &BLOCK)), Flaw::Version);
    assert_eq!(flaw(&binary(0x22, 0x11, &BLOCK)), Flaw::Command);
    for family in [0x01, 0x10, 0x13, 0x20, 0x41, 0xff] {
        assert_eq!(flaw(&binary(0x21, family, &BLOCK)), Flaw::Family, "{family:x}");
    }
    assert_eq!(flaw(&binary(0x21, 0x11, &BLOCK[..11])), Flaw::Length);
    assert_eq!(flaw(&binary(0x21, 0x21, &[0; 35])), Flaw::Length);
    assert_eq!(flaw(&binary(0x21, 0x31, &[0; 215])), Flaw::Length);
    assert_eq!(flaw(&binary(0x21, 0x11, &[0; V2_BYTES_MAX])), Flaw::TooLong);
    assert_eq!(flaw(&binary(0x21, 0x11, &BLOCK)[..27]), Flaw::Ended);
}

#[test]
fn extensions_are_skipped_and_must_fit() {
    let with = |extension: &[u8]| {
        take(&binary(0x21, 0x11, &[&BLOCK[..], extension].concat()), &[64]).map(|(ends, _)| ends)
    };
    let ends = with(&[]).unwrap();
    assert_eq!(with(&[0x04, 0, 3, 0, 0, 0]).unwrap(), ends, "padding");
    assert_eq!(with(b"\x01\0\x02h2\x02\0\x0bexample.com\xe0\0\0").unwrap(), ends);
    for extension in [&[0x04][..], &[0x04, 0], &[0x04, 0, 1], &[0x04, 0, 0, 9]] {
        assert_eq!(with(extension), Err(Flaw::Length), "{extension:?}");
    }
}

#[test]
fn a_checksum_is_that_of_the_header_it_is_in() {
    // The check value that the catalogue of checksums gives for CRC-32C.
    assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
    let zeroed = [&BLOCK[..], &[0x03, 0, 4, 0, 0, 0, 0], b"\x02\0\x01a"].concat();
    let mut bytes = binary(0x21, 0x11, &zeroed);
    let sum = CRC32C.checksum(&bytes);
    bytes[31..35].copy_from_slice(&sum.to_be_bytes());
    assert!(take(&bytes, &[9]).is_ok());
    for at in 16..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(take(&changed, &[9]).is_err() || at == 28, "byte {at} is not covered");
    }
    let short = binary(0x21, 0x11, &[&BLOCK[..], &[0x03, 0, 2, 0, 0]].concat());
    assert_eq!(take(&short, &[9]), Err(Flaw::Length));
}

#[test]
fn what_is_written_is_what_the_specification_shows() {
    let ends = |source: &str, destination: &str| {
        Some(Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    };
    let v4 = ends("192.0.2.1:4711", "203.0.113.9:443");
    let text = |ends| String::from_utf8(header(ProxyProtocol::V1, ends)).unwrap();
    assert_eq!(text(v4), "PROXY TCP4 192.0.2.1 203.0.113.9 4711 443\r\n");
    assert_eq!(text(None), "PROXY UNKNOWN\r\n");
    assert_eq!(
        text(ends("192.0.2.1:1", "[2001:db8::1]:2")),
        "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n"
    );
    assert_eq!(header(ProxyProtocol::V2, v4), binary(0x21, 0x11, &BLOCK));
    assert_eq!(header(ProxyProtocol::V2, None), binary(0x20, 0, &[]));
}

/// Bytes that HAProxy 2.6 sent: `send-proxy`, `send-proxy-v2` over IPv6, with
/// `proxy-v2-options crc32c,unique-id`, and from a health check.
#[test]
fn what_haproxy_sends_is_understood() {
    let check_hex = |hex: &str, expected: &Expect| {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        check(&(0..hex.len()).step_by(2).map(digit).collect::<Vec<_>>(), expected);
    };
    check(
        b"PROXY TCP6 ::1 ::1 35206 38143\r\nping",
        &expect![[r#"[::1]:35206 to [::1]:38143, then "ping""#]],
    );
    check_hex(
        "0d0a0d0a000d0a515549540a2121002400000000000000000000000000000001\
         0000000000000000000000000000000186c08c1770696e67",
        &expect![[r#"[::1]:34496 to [::1]:35863, then "ping""#]],
    );
    check_hex(
        "0d0a0d0a000d0a515549540a2111003a7f0000017f000001cb7caf7b030004b2\
         7d500805002431313631313737382d333935642d343666392d613463662d6532\
         3164636134366633626270696e67",
        &expect![[r#"127.0.0.1:52092 to 127.0.0.1:44923, then "ping""#]],
    );
    check_hex("0d0a0d0a000d0a515549540a20000000", &expect![[r#"nobody, then """#]]);
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_is_admitted_and_it_has_to_say_for_whom() {
    let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Trust::default() };
    let admit = async |peer: &str, bytes: &[u8]| {
        let cut = Cut { bytes: bytes.to_vec(), at: 0, pieces: vec![64], next: 0 };
        let admitted = admit(Box::new(cut), Some(peer.parse().unwrap()), &trust).await;
        let Admitted { peer, local, mut io } = admitted?;
        assert_eq!(io.read(&mut [0]).await.unwrap(), 0, "only the header was sent");
        Ok((peer.unwrap().to_string(), local.is_some()))
    };
    let line = header(
        ProxyProtocol::V1,
        Some(Ends {
            source: "192.0.2.1:4711".parse().unwrap(),
            destination: "192.0.2.2:80".parse().unwrap(),
        }),
    );
    assert_eq!(admit("10.0.0.1:9", &line).await, Ok(("192.0.2.1:4711".into(), true)));
    assert_eq!(admit("10.0.0.1:9", b"PROXY UNKNOWN\r\n").await, Ok(("10.0.0.1:9".into(), false)));
    assert_eq!(admit("11.0.0.1:9", &line).await, Err(Flaw::Stranger));
    assert_eq!(admit("10.0.0.1:9", b"GET / HTTP/1.1\r\n").await, Err(Flaw::NoHeader));
}

#[tokio::test]
async fn an_announced_connection_carries_on_after_its_header() {
    let (ours, theirs) = tokio::io::duplex(256);
    let mut ours: Box<dyn Io> = Box::new(ours);
    let source = "192.0.2.1:4711".parse().unwrap();
    let ends = Ends { source, destination: "192.0.2.2:80".parse().unwrap() };
    announce(&mut ours, ProxyProtocol::V2, Some(ends)).await.unwrap();
    ours.write_all(b"ping").await.unwrap();
    let (found, mut theirs) = accept(Box::new(theirs)).await.unwrap();
    assert_eq!(found, Some(ends));
    theirs.write_all(b"pong").await.unwrap();
    let mut here = [0; 4];
    theirs.read_exact(&mut here).await.unwrap();
    assert_eq!(&here, b"ping");
    ours.read_exact(&mut here).await.unwrap();
    assert_eq!(&here, b"pong");
}

fn any_end() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let version = prop_oneof![Just(ProxyProtocol::V1), Just(ProxyProtocol::V2)];
    let ends = proptest::option::of((any_end(), any_end()));
    (version, ends).prop_map(|(version, ends)| {
        header(version, ends.map(|(source, destination)| Ends { source, destination }))
    })
}

/// Makes one or two bytes of a header other ones, or cuts it, or makes it longer.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes =
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4);
    (any_header(), changes).prop_map(|(mut bytes, changes)| {
        for (index, byte, how) in changes {
            let at = index.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.truncate(at),
                _ => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(crate::dice::replayed())]

    #[test]
    fn what_is_written_reads_back_however_it_is_cut(
        source in any_end(),
        destination in any_end(),
        rest in proptest::collection::vec(any::<u8>(), 0..64),
        pieces in proptest::collection::vec(1_usize..40, 1..5),
    ) {
        let ends = Ends { source, destination };
        let canonical = Ends {
            source: end_of(source.ip(), source.port()),
            destination: end_of(destination.ip(), destination.port()),
        };
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            let bytes = [header(version, Some(ends)), rest.clone()].concat();
            prop_assert_eq!(take(&bytes, &pieces), Ok((Some(canonical), rest.clone())));
            let bytes = [header(version, None), rest.clone()].concat();
            prop_assert_eq!(take(&bytes, &pieces), Ok((None, rest.clone())));
        }
    }

    #[test]
    fn no_cut_changes_what_is_made_of_a_damaged_header(
        bytes in mutated(),
        pieces in proptest::collection::vec(1_usize..40, 1..5),
    ) {
        prop_assert_eq!(take(&bytes, &pieces), take(&bytes, &[READ_BYTES]));
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_nothing_is_lost(
        begin in prop_oneof![Just(V1_BEGIN), Just(V2_BEGIN), Just(&b""[..])],
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [begin, &bytes].concat();
        if let Ok((_, rest)) = take(&bytes, &[11]) {
            prop_assert!(bytes.ends_with(&rest) && rest.len() < bytes.len());
        }
    }
}
