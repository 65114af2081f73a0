//! One head: where it ends, and whether it can be read in one way only.
//!
//! RFC 9112 §2.2, §3.2, §5, §6.1 and §6.3, in the strict reading.

use std::time::Duration;

use super::kind::TOKEN;
use super::target::{TARGET_BYTES_MAX, is_host, is_target};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// The first line is not `METHOD target HTTP/1.x`.
    RequestLine,
    /// A version that is not spoken here.
    Version,
    /// A line ends in a line feed alone.
    BareLineFeed,
    /// A line goes on in the next one (obs-fold).
    FoldedLine,
    /// A field without a name, or with a space before its colon.
    FieldName,
    /// A control character in a field.
    FieldValue,
    /// Both `Content-Length` and `Transfer-Encoding`.
    TwoFramings,
    /// More than one `Content-Length`.
    TwoLengths,
    /// A `Content-Length` that is not a number.
    Length,
    /// A `Transfer-Encoding` other than `chunked`, once, in HTTP/1.1.
    TransferEncoding,
    /// A CONNECT that says it has a body.
    ConnectBody,
    /// No `Host`, more than one, or one that is not a host.
    Host,
    /// More bytes or lines than allowed.
    TooLong,
    /// A target of more bytes than allowed.
    TargetTooLong,
    /// The rest of it did not come in time.
    Late,
}

impl Refusal {
    /// All of them, in order.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 15] = [
        Self::RequestLine,
        Self::Version,
        Self::BareLineFeed,
        Self::FoldedLine,
        Self::FieldName,
        Self::FieldValue,
        Self::TwoFramings,
        Self::TwoLengths,
        Self::Length,
        Self::TransferEncoding,
        Self::ConnectBody,
        Self::Host,
        Self::TooLong,
        Self::TargetTooLong,
        Self::Late,
    ];

    /// For machines, logs and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RequestLine => "bad_request_line",
            Self::Version => "bad_version",
            Self::BareLineFeed => "bare_line_feed",
            Self::FoldedLine => "folded_line",
            Self::FieldName => "bad_field_name",
            Self::FieldValue => "bad_field_value",
            Self::TwoFramings => "length_and_transfer_encoding",
            Self::TwoLengths => "several_lengths",
            Self::Length => "bad_length",
            Self::TransferEncoding => "bad_transfer_encoding",
            Self::ConnectBody => "connect_with_body",
            Self::Host => "bad_host",
            Self::TooLong => "head_too_long",
            Self::TargetTooLong => "target_too_long",
            Self::Late => "head_timeout",
        }
    }

    /// For people.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::RequestLine => "the request line is malformed",
            Self::Version => "only HTTP/1.1 and HTTP/1.0 are spoken here",
            Self::BareLineFeed => "lines must end in CR LF",
            Self::FoldedLine => "folded header lines are not accepted",
            Self::FieldName => "a header field has no valid name",
            Self::FieldValue => "a header field contains a control character",
            Self::TwoFramings => "Content-Length and Transfer-Encoding exclude each other",
            Self::TwoLengths => "more than one Content-Length",
            Self::Length => "Content-Length is not a number",
            Self::TransferEncoding => "the only transfer coding accepted is chunked, in HTTP/1.1",
            Self::ConnectBody => "a CONNECT has no body",
            Self::Host => "there must be one Host, and it must be a host name with or without port",
            Self::TooLong => "the request's head is too long",
            Self::TargetTooLong => "the request's path and query are too long",
            Self::Late => "the rest of the head did not arrive in time",
        }
    }
}

/// How long a head may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes_max: usize,
    pub(crate) lines_max: usize,
    /// From its first byte to its last.
    pub(crate) timeout: Duration,
    /// Whether a connection may turn out to speak HTTP/2.
    pub(crate) http2: bool,
}

/// What a connection of HTTP/2 begins with looks like a head (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follows {
    pub(crate) body: Framing,
    /// Whether another protocol may follow that (RFC 9110 §7.8, §9.3.6): nobody knows until there is an
    /// answer.
    pub(crate) may_switch: bool,
}

/// The body behind a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Some clients send an empty line after a body. One before a request belongs to its head and is
/// passed over (RFC 9112 §2.2).
pub(super) const BLANK: &[u8] = b"\r\n";

/// Where the head that `bytes` begins with ends, if it does. `line_at` is where to go on when more
/// has come. What is wrong is found at the same byte however the bytes are cut.
pub(crate) fn end(
    bytes: &[u8],
    line_at: &mut usize,
    limits: &Limits,
) -> Result<Option<usize>, Refusal> {
    let begin = bytes.strip_prefix(BLANK).unwrap_or(bytes);
    if !begin.first().is_none_or(|byte| TOKEN.is(*byte)) && begin != b"\r" {
        return Err(Refusal::RequestLine); // TLS, or something else that is not HTTP
    }
    let within = &bytes[..bytes.len().min(limits.bytes_max)];
    while let Some(length) = memchr::memchr(b'\n', &within[*line_at..]) {
        let line_feed = *line_at + length;
        if line_feed == 0 || within[line_feed - 1] != b'\r' {
            return Err(Refusal::BareLineFeed);
        }
        let ends_head = length == 1 && *line_at > 0;
        *line_at = line_feed + 1;
        if ends_head {
            return Ok(Some(*line_at));
        }
    }
    if bytes.len() > limits.bytes_max { Err(Refusal::TooLong) } else { Ok(None) }
}

/// Whether a whole head can be read in one way only, and what follows it.
pub(crate) fn inspect(head: &[u8], limits: &Limits) -> Result<Follows, Refusal> {
    let mut lines = Lines { rest: head.strip_prefix(BLANK).unwrap_or(head) };
    let (version, connects) = request_line(lines.next().unwrap_or_default())?;
    let mut seen = Seen::default();
    for (line, count) in lines.zip(1..) {
        if line.is_empty() {
            break;
        }
        if count > limits.lines_max {
            return Err(Refusal::TooLong);
        }
        field(line, &mut seen)?;
    }
    match (seen.hosts, version) {
        (1, _) | (0, Version::Http10) => {}
        _ => return Err(Refusal::Host),
    }
    let body = match (seen.length, seen.chunked) {
        (Some(_), true) => return Err(Refusal::TwoFramings),
        (None, true) if version == Version::Http10 => return Err(Refusal::TransferEncoding),
        (Some(0) | None, false) => Framing::None,
        // It has no content to frame, and what follows is for whoever grants the tunnel.
        _ if connects => return Err(Refusal::ConnectBody),
        (None, true) => Framing::Chunked,
        (Some(length), false) => Framing::Length(length),
    };
    let upgrades = seen.upgrade && seen.connection && version == Version::Http11;
    Ok(Follows { body, may_switch: connects || upgrades })
}

/// The lines of a head whose lines are known to end in CR LF.
struct Lines<'h> {
    rest: &'h [u8],
}

impl<'h> Iterator for Lines<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let line_feed = memchr::memchr(b'\n', self.rest)?;
        let line = &self.rest[..line_feed - 1];
        self.rest = &self.rest[line_feed + 1..];
        Some(line)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// The version, and whether a tunnel is asked for. RFC 9112 §3: one space between the parts, and none
/// within.
fn request_line(line: &[u8]) -> Result<(Version, bool), Refusal> {
    let cut = |line| memchr::memchr(b' ', line).map(|space| (&line[..space], &line[space + 1..]));
    let (method, rest) = cut(line).ok_or(Refusal::RequestLine)?;
    let (target, version) = cut(rest).ok_or(Refusal::RequestLine)?;
    if version.contains(&b' ') {
        return Err(Refusal::RequestLine);
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong);
    }
    if method.is_empty() || !TOKEN.are(method) || !is_target(method, target) {
        return Err(Refusal::RequestLine);
    }
    let connects = method == b"CONNECT";
    match version {
        b"HTTP/1.1" => Ok((Version::Http11, connects)),
        b"HTTP/1.0" => Ok((Version::Http10, connects)),
        _ if version.starts_with(b"HTTP/") => Err(Refusal::Version),
        _ => Err(Refusal::RequestLine),
    }
}

/// Bytes of a field's name, which `http` counts in 16 bits.
const NAME_BYTES_MAX: usize = 0xffff;
/// The longest body. hyper keeps the two highest numbers for bodies without a length.
const LENGTH_MAX: u64 = u64::MAX - 2;

/// The fields that decide how a request is read.
#[derive(Default)]
struct Seen {
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
    /// A protocol is named.
    upgrade: bool,
    /// And `Connection` says that it is for us.
    connection: bool,
}

fn field(line: &[u8], seen: &mut Seen) -> Result<(), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::FoldedLine);
    }
    let (name, rest) = line.split_at(TOKEN.count(line));
    let Some((b':', value)) = rest.split_first() else { return Err(wrong_name(line)) };
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(wrong_name(line));
    }
    // All of them, whatever was found: so many are looked at in one step.
    let is_control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    if value.iter().fold(false, |found, byte| found | is_control(*byte)) {
        return Err(Refusal::FieldValue);
    }
    let value = value.trim_ascii(); // of spaces and tabs: the rest of it was refused above
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"host") => {
            seen.hosts += 1;
            if !is_host(value) {
                return Err(Refusal::Host);
            }
        }
        // HTTP/2 is spoken from the first byte or not at all (RFC 9113 §3.1).
        7 if name.eq_ignore_ascii_case(b"upgrade") => {
            let mut protocols = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            seen.upgrade |= protocols.any(|it| !it.is_empty() && !it.eq_ignore_ascii_case(b"h2c"));
        }
        10 if name.eq_ignore_ascii_case(b"connection") => {
            let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            seen.connection |= options.any(|option| option.eq_ignore_ascii_case(b"upgrade"));
        }
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            if seen.length.is_some() {
                return Err(Refusal::TwoLengths);
            }
            seen.length = Some(length(value)?);
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            if seen.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::TransferEncoding);
            }
            seen.chunked = true;
        }
        _ => {}
    }
    Ok(())
}

/// What is wrong with a line that does not begin with a name and a colon.
fn wrong_name(line: &[u8]) -> Refusal {
    match memchr::memchr(b':', line) {
        Some(colon) if colon > NAME_BYTES_MAX => Refusal::TooLong,
        _ => Refusal::FieldName,
    }
}

/// Digits alone, and no more of them than a length has (RFC 9110 §8.6). `5, 5` is two lengths.
fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.contains(&b',') {
        return Err(Refusal::TwoLengths);
    }
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits).ok_or(Refusal::Length)?;
    text.parse().ok().filter(|length| *length <= LENGTH_MAX).ok_or(Refusal::Length)
}
