//! HAProxy's PROXY protocol: who is at the other end of a connection that a proxy made.
//!
//! Before the first byte of what it carries, such a connection has one header that names the two ends
//! of the client's connection: a line of text (version 1) or a few binary words (version 2). [`admit`]
//! takes exactly that header off a connection and gives back the rest untouched; [`announce`] sends
//! one. Section numbers are those of the specification (`doc/proxy-protocol.txt` of HAProxy).
//!
//! A header is believed blindly, so a listener takes it from trusted proxies alone and then insists on
//! it: guessing whether one is there would let any client write its own (§2.7). Deadlines are the
//! caller's.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};
use lb_config::config::{ProxyProtocol, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::forwarded::trusts;
use crate::platform::{Io, Prefixed};

/// The two ends of the client's connection. An IPv4 address that came as IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The client.
    pub(crate) source: SocketAddr,
    /// What the client connected to.
    pub(crate) destination: SocketAddr,
}

/// Why a connection has no header that may be believed. Always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is not from a trusted proxy.
    Stranger,
    /// It begins with something else.
    NoHeader,
    /// The header does not end where the longest one would.
    TooLong,
    /// Version 2 with another number.
    Version,
    /// Neither LOCAL nor PROXY.
    Command,
    /// An address family or a transport that is not defined.
    Family,
    /// A line of version 1 that is not written as it must be.
    Line,
    /// A length does not fit what it measures.
    Length,
    /// The checksum is that of another header.
    Checksum,
    /// The connection ended, or broke, within the header.
    Ended,
}

/// Bytes of a header of version 1, line end included (§2.1).
const V1_BYTES_MAX: usize = 107;
/// Bytes of a header of version 2. It could be 64 KiB; the longest in use carry a certificate.
const V2_BYTES_MAX: usize = 16 << 10;
/// Bytes read at once: the longest header that a sender may expect to go out in one piece (§2).
const READ_BYTES: usize = 536;

const V1_BEGIN: &[u8] = b"PROXY ";
const V2_BEGIN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, a byte each of version with command and of family with transport, and the length.
const V2_FIXED: usize = 16;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// The type of the extension with a checksum over the whole header (§2.2.3).
const TYPE_CRC32C: u8 = 0x03;
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A connection whose header was taken off.
pub(crate) struct Admitted {
    /// Who counts as the other end: the client, or the proxy where it speaks for itself.
    pub(crate) peer: Option<SocketAddr>,
    /// What the client connected to, if the header says so.
    pub(crate) local: Option<SocketAddr>,
    /// What comes behind the header.
    pub(crate) io: Box<dyn Io>,
}

/// Lets a connection in at a listener for proxies: `peer` has to be one, and has to say for whom it
/// speaks. Whoever may connect to a Unix socket is one: that is what its mode is for.
///
/// # Errors
/// The connection is to be closed: there is no way to say why.
pub(crate) async fn admit(
    io: Box<dyn Io>,
    peer: Option<SocketAddr>,
    trust: &Trust,
) -> Result<Admitted, Flaw> {
    if peer.is_some_and(|peer| !trusts(trust, peer.ip())) {
        return Err(Flaw::Stranger);
    }
    let (ends, io) = accept(io).await?;
    let local = ends.map(|ends| ends.destination);
    Ok(Admitted { peer: ends.map(|ends| ends.source).or(peer), local, io })
}

/// Takes the header off `io`. `None`: the proxy speaks for itself (LOCAL), or does not know or cannot
/// say in addresses for whom it speaks; then the peer is who it seems to be (§2.1, §2.2).
pub(crate) async fn accept(mut io: Box<dyn Io>) -> Result<(Option<Ends>, Box<dyn Io>), Flaw> {
    let mut begun = Vec::new();
    loop {
        if let Some((ends, bytes)) = parse(&begun)? {
            let rest = begun.split_off(bytes);
            let io = if rest.is_empty() { io } else { Box::new(Prefixed::new(rest, io)) };
            return Ok((ends, io));
        }
        // What is read stays within the longest header and one piece.
        let mut piece = [0; READ_BYTES];
        match io.read(&mut piece).await {
            Ok(0) | Err(_) => return Err(Flaw::Ended),
            Ok(read) => begun.extend_from_slice(&piece[..read]),
        }
    }
}

/// Sends a header as the first bytes of a connection to a backend.
///
/// # Errors
/// The connection broke.
pub(crate) async fn announce(
    io: &mut Box<dyn Io>,
    version: ProxyProtocol,
    ends: Option<Ends>,
) -> io::Result<()> {
    io.write_all(&header(version, ends)).await?;
    io.flush().await
}

/// A header for the connection between `ends`; `None` for what we do on our own, such as checks.
pub(crate) fn header(version: ProxyProtocol, ends: Option<Ends>) -> Vec<u8> {
    let ends = ends.map(|Ends { source, destination }| {
        let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
        (from, to, source.port(), destination.port())
    });
    match (version, ends) {
        (ProxyProtocol::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyProtocol::V1, Some((IpAddr::V4(from), IpAddr::V4(to), port, to_port))) => {
            format!("PROXY TCP4 {from} {to} {port} {to_port}\r\n").into_bytes()
        }
        (ProxyProtocol::V1, Some((from, to, port, to_port))) => {
            // Both have to be of one family: an IPv4 address is written as the IPv6 that stands for it.
            let (from, to) = (v6(from), v6(to));
            format!("PROXY TCP6 {from} {to} {port} {to_port}\r\n").into_bytes()
        }
        (ProxyProtocol::V2, None) => v2(LOCAL, 0, &[]),
        (ProxyProtocol::V2, Some((IpAddr::V4(from), IpAddr::V4(to), port, to_port))) => {
            let ports = [port.to_be_bytes(), to_port.to_be_bytes()].concat();
            v2(PROXY, TCP4, &[&from.octets()[..], &to.octets()[..], &ports[..]].concat())
        }
        (ProxyProtocol::V2, Some((from, to, port, to_port))) => {
            let ports = [port.to_be_bytes(), to_port.to_be_bytes()].concat();
            v2(PROXY, TCP6, &[&v6(from).octets()[..], &v6(to).octets()[..], &ports[..]].concat())
        }
    }
}

/// A header of version 2 around `block`.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("two addresses and two ports");
    [V2_BEGIN, &[0x20 | command, family], &length.to_be_bytes(), block].concat()
}

const fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// What the header at the beginning of `bytes` says, and how long it is; `None` if there is more to
/// come. The answer to more bytes is never another one, so it does not matter how they are cut.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Option<Ends>, usize)>, Flaw> {
    let begins = |begin: &[u8]| {
        let here = begin.len().min(bytes.len());
        bytes[..here] == begin[..here]
    };
    match (begins(V1_BEGIN), begins(V2_BEGIN)) {
        (true, _) if bytes.len() >= V1_BEGIN.len() => parse_v1(bytes),
        (_, true) if bytes.len() >= V2_BEGIN.len() => parse_v2(bytes),
        (false, false) => Err(Flaw::NoHeader),
        _ => Ok(None),
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Option<Ends>, usize)>, Flaw> {
    let longest = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = memchr::memmem::find(longest, b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(Flaw::TooLong) };
    };
    let line = &bytes[V1_BEGIN.len()..end];
    let whole = end + b"\r\n".len();
    // What follows UNKNOWN is not looked at, whatever it is (§2.1).
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Some((None, whole)));
    }
    let line = std::str::from_utf8(line).map_err(|_| Flaw::Line)?;
    let words: Vec<&str> = line.splitn(6, ' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return Err(Flaw::Line);
    };
    let address = |text: &str| -> Result<IpAddr, Flaw> {
        let address = match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6),
            _ => return Err(Flaw::Family),
        };
        address.map_err(|_| Flaw::Line)
    };
    let ends = Ends {
        source: end_of(address(source)?, port(source_port)?),
        destination: end_of(address(destination)?, port(destination_port)?),
    };
    Ok(Some((Some(ends), whole)))
}

/// A decimal number without a sign and without zeros before it.
fn port(text: &str) -> Result<u16, Flaw> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(Flaw::Line)
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Option<Ends>, usize)>, Flaw> {
    let [version_command, family, length_high, length_low] =
        match bytes.get(V2_BEGIN.len()..V2_FIXED) {
            Some(&[a, b, c, d]) => [a, b, c, d],
            _ => return Ok(None),
        };
    if version_command >> 4 != 2 {
        return Err(Flaw::Version);
    }
    let command = version_command & 0xf;
    if ![LOCAL, PROXY].contains(&command) {
        return Err(Flaw::Command);
    }
    let whole = V2_FIXED + usize::from(u16::from_be_bytes([length_high, length_low]));
    if whole > V2_BYTES_MAX {
        return Err(Flaw::TooLong);
    }
    let Some(header) = bytes.get(..whole) else { return Ok(None) };
    if command == LOCAL {
        // The block is thrown away unseen, its family included (§2.2).
        return Ok(Some((None, whole)));
    }
    let (ends, block) = v2_ends(family, &header[V2_FIXED..])?;
    if let Some(addresses) = block {
        check_extensions(header, V2_FIXED + addresses)?;
    }
    Ok(Some((ends, whole)))
}

/// The ends that a block begins with, and how many bytes say so; `None` where that is not defined.
fn v2_ends(family: u8, block: &[u8]) -> Result<(Option<Ends>, Option<usize>), Flaw> {
    // Bytes of both addresses, of both ports behind them, and of the paths of Unix sockets.
    const V4: usize = 12;
    const V6: usize = 36;
    const UNIX: usize = 216;
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let bytes = match family {
        0x00 => return Ok((None, None)),
        0x11 | 0x12 => V4,
        0x21 | 0x22 => V6,
        0x31 | 0x32 => UNIX,
        _ => return Err(Flaw::Family),
    };
    if block.len() < bytes {
        return Err(Flaw::Length);
    }
    let ends = match family {
        TCP4 => {
            let address = |at: usize| {
                let octets = block[at..at + 4].try_into().expect("the length was checked");
                IpAddr::V4(Ipv4Addr::from_octets(octets))
            };
            Some(Ends {
                source: end_of(address(0), port(8)),
                destination: end_of(address(4), port(10)),
            })
        }
        TCP6 => {
            let address = |at: usize| {
                let octets = block[at..at + 16].try_into().expect("the length was checked");
                IpAddr::V6(Ipv6Addr::from_octets(octets))
            };
            Some(Ends {
                source: end_of(address(0), port(32)),
                destination: end_of(address(16), port(34)),
            })
        }
        // A datagram or a Unix socket has no address that a client of ours could have.
        _ => None,
    };
    Ok((ends, Some(bytes)))
}

fn end_of(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// Skips the extensions from `at` on, and checks the one that speaks for all of the header: whoever
/// gets a wrong checksum must not use the connection (§2.2.3).
fn check_extensions(header: &[u8], mut at: usize) -> Result<(), Flaw> {
    let mut checked = false;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return Err(Flaw::Length) };
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        let said = header.get(value.clone()).ok_or(Flaw::Length)?;
        if kind == TYPE_CRC32C {
            let said = <[u8; 4]>::try_from(said).map_err(|_| Flaw::Length)?;
            // It is the sum of the header with zeros in its own place.
            let mut sum = CRC32C.digest();
            sum.update(&header[..value.start]);
            sum.update(&[0; 4]);
            sum.update(&header[value.end..]);
            if checked || sum.finalize() != u32::from_be_bytes(said) {
                return Err(Flaw::Checksum);
            }
            checked = true;
        }
        at = value.end;
    }
    Ok(())
}

impl fmt::Display for Flaw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Stranger => "the connection is not from a trusted proxy",
            Self::NoHeader => "the connection does not begin with a PROXY header",
            Self::TooLong => "the PROXY header is too long",
            Self::Version => "the PROXY header has an unknown version",
            Self::Command => "the PROXY header has an unknown command",
            Self::Family => "the PROXY header has an unknown address family",
            Self::Line => "the PROXY header is not written as version 1 asks for",
            Self::Length => "the PROXY header has a length that does not fit",
            Self::Checksum => "the PROXY header has a wrong checksum",
            Self::Ended => "the connection ended within the PROXY header",
        })
    }
}

impl std::error::Error for Flaw {}
