//! What became of an attempt, and what follows from it: one table for everybody.
//!
//! The question behind the table is whether the request may have had an effect. A connection that
//! was refused carried nothing, so any request may go elsewhere. A connection that broke after the
//! request was written is ambiguous: the backend may have done the work, and only a request that
//! may be repeated (RFC 9110 §9.2.2) goes elsewhere.

use core::time::Duration;

use crate::breaker::Verdict;
use crate::score::Shown;
use crate::statuses::StatusSet;

/// What became of an attempt, as far as the head of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered with this status.
    Answered(u16),
    /// No answer came.
    Failed(Failure),
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The backend's name has no address.
    NoAddress,
    /// The connection was refused.
    ConnectRefused,
    /// The network could not reach the backend, or connecting failed otherwise.
    ConnectFailed,
    /// No connection came about in time.
    ConnectTimeout,
    /// TLS could not be agreed on, or its certificate is not trusted.
    TlsFailed,
    /// The connection had closed before anything of the request was written, or the backend said
    /// that it would not look at it while it closed (RFC 9113 §6.8).
    Unsent,
    /// The backend refused the stream unprocessed (RFC 9113 §8.7).
    RefusedStream,
    /// The connection broke after the request, or a part of it, was written.
    Reset,
    /// No head came in time.
    FirstByteTimeout,
    /// What came was not HTTP, or beyond the limits for a head.
    Malformed,
    /// The proxy has run out of something that a connection needs: descriptors, or ports of its own.
    Exhausted,
    /// The backend has as many connections as it may have, and none came free in time.
    Crowded,
    /// The backend opened no tunnel: it may ignore what it was asked to switch to (RFC 9110 §7.8), and the
    /// client would take its answer for a tunnel; or it switched to another than it was asked for; or it
    /// speaks HTTP/2, and was asked in HTTP/1.1.
    NoTunnel,
    /// The exchange's time was up before the backend had had its own, or nothing of the request's body could be
    /// sent in it.
    OutOfTime,
    /// The connection ended while the client had yet to send more of the request's body: a backend need not
    /// wait for that as long as we do.
    BodyAwaited,
    /// The connection that it shared with others ended, and that has counted already, with one of them.
    ConnectionLost,
}

/// Whether the backend may have acted on the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It has not: the request may go elsewhere whatever its method.
    Never,
    /// Nobody knows: only a request that may be repeated goes elsewhere.
    Maybe,
}

impl Outcome {
    /// Whether the backend may have acted on the request.
    ///
    /// 521, 522, 523, 525 and 526 are what an edge in front of the backend says when it could not
    /// reach it; 520 and 524 are its words for "something came back" and "nothing came in time".
    pub const fn reach(self) -> Reach {
        match self {
            Self::Answered(521 | 522 | 523 | 525 | 526)
            | Self::Failed(
                Failure::NoAddress
                | Failure::ConnectRefused
                | Failure::ConnectFailed
                | Failure::ConnectTimeout
                | Failure::TlsFailed
                | Failure::Unsent
                | Failure::Exhausted
                | Failure::Crowded
                | Failure::RefusedStream,
            ) => Reach::Never,
            Self::Answered(_)
            | Self::Failed(
                Failure::Reset
                | Failure::FirstByteTimeout
                | Failure::Malformed
                | Failure::NoTunnel
                | Failure::OutOfTime
                | Failure::BodyAwaited
                | Failure::ConnectionLost,
            ) => Reach::Maybe,
        }
    }

    /// What it says about the backend: the answers in `failures` and silence count against it. A
    /// kept connection that closed before anything was written does not: backends close idle
    /// connections by right. Nor does what we have run out of ourselves, or have enough of, nor a
    /// tunnel that it need not open, nor a time that was too short, which clients choose (`grpc-timeout`) or
    /// attempts before this one have left, nor that it would not wait for a body that its client does not
    /// send: whoever asks could take it out otherwise. A connection that many share ends once, however many
    /// they are.
    pub const fn verdict(self, failures: StatusSet) -> Verdict {
        match self {
            // Beyond 599 no status is valid, and counts as a server error (RFC 9110 §15).
            Self::Answered(600..) => Verdict::Failure,
            Self::Answered(status) if failures.contains(status) => Verdict::Failure,
            Self::Answered(_) => Verdict::Success,
            Self::Failed(
                Failure::Unsent
                | Failure::Exhausted
                | Failure::Crowded
                | Failure::NoTunnel
                | Failure::OutOfTime
                | Failure::BodyAwaited
                | Failure::ConnectionLost,
            ) => Verdict::Abandoned,
            Self::Failed(_) => Verdict::Failure,
        }
    }

    /// Whether the backend may be asked on where nobody is better. The request may have brought it about: the
    /// backend is there and answers, if not in HTTP, and says neither that it is overloaded nor that somebody
    /// behind it is out of reach. Or nobody knew where it is: whoever asks again costs it nothing, and is right
    /// as soon as somebody knows.
    pub const fn is_asked_on(self) -> bool {
        match self {
            Self::Answered(status) => !matches!(status, 502..=504 | 520..=530),
            Self::Failed(failure) => matches!(failure, Failure::Malformed | Failure::NoAddress),
        }
    }

    /// What it comes to of a tunnel that was asked for in HTTP/1.1 of a backend that speaks HTTP/2, if not to
    /// this. Whatever it makes of that is no fault of its own, and any client can ask; that it could not be
    /// reached is one.
    pub const fn of_foreign_tunnel(self) -> Option<Failure> {
        match self {
            Self::Answered(500..)
            | Self::Failed(
                Failure::TlsFailed
                | Failure::Unsent
                | Failure::RefusedStream
                | Failure::Reset
                | Failure::FirstByteTimeout
                | Failure::Malformed,
            ) => Some(Failure::NoTunnel),
            Self::Answered(_) | Self::Failed(_) => None,
        }
    }

    /// What it adds to the backend's record, if anything: 523 and no connection are critical.
    pub(crate) const fn shown(self, failures: StatusSet) -> Option<Shown> {
        match (self.verdict(failures), self) {
            (Verdict::Abandoned, _) => None,
            (Verdict::Success, _) => Some(Shown::Good),
            (
                Verdict::Failure,
                Self::Answered(523)
                | Self::Failed(
                    Failure::NoAddress
                    | Failure::ConnectRefused
                    | Failure::ConnectFailed
                    | Failure::ConnectTimeout
                    | Failure::TlsFailed,
                ),
            ) => Some(Shown::Critical),
            (Verdict::Failure, _) => Some(Shown::Error),
        }
    }

    /// As written in metrics and logs: a failure's code, or the class of a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(..200) => "1xx",
            Self::Answered(200..300) => "2xx",
            Self::Answered(300..400) => "3xx",
            Self::Answered(400..500) => "4xx",
            Self::Answered(500..) => "5xx",
            Self::Failed(failure) => failure.as_str(),
        }
    }
}

impl Failure {
    /// All of them, in order.
    pub const ALL: [Self; 16] = [
        Self::NoAddress,
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::Unsent,
        Self::RefusedStream,
        Self::Reset,
        Self::FirstByteTimeout,
        Self::Malformed,
        Self::Exhausted,
        Self::Crowded,
        Self::NoTunnel,
        Self::OutOfTime,
        Self::BodyAwaited,
        Self::ConnectionLost,
    ];

    /// What it comes to of a request of whose body nothing could be sent, because others had all that may be
    /// under way on their connection (RFC 9113 §6.9): the backend knows next to nothing of it.
    #[must_use]
    pub const fn with_body_held_up(self) -> Self {
        match self {
            Self::FirstByteTimeout => Self::OutOfTime,
            failure => failure,
        }
    }

    /// What it comes to of a request of whose body the client has yet to send more.
    #[must_use]
    pub const fn with_body_awaited(self) -> Self {
        match self {
            Self::Reset => Self::BodyAwaited,
            failure => failure,
        }
    }

    /// What it comes to where it is the end of a shared connection, and has counted with another request.
    #[must_use]
    pub const fn counted_once(self) -> Self {
        match self {
            Self::Reset | Self::Malformed => Self::ConnectionLost,
            failure => failure,
        }
    }

    /// As written in metrics, logs and error bodies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailed => "tls_failed",
            Self::Unsent => "unsent",
            Self::RefusedStream => "refused_stream",
            Self::Reset => "reset",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::Malformed => "malformed",
            Self::Exhausted => "exhausted",
            Self::Crowded => "crowded",
            Self::NoTunnel => "no_tunnel",
            Self::OutOfTime => "out_of_time",
            Self::BodyAwaited => "body_awaited",
            Self::ConnectionLost => "connection_lost",
        }
    }
}

/// How the body of a delivered response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// Its last byte was handed on.
    Complete,
    /// The backend broke it off.
    BackendBroke,
    /// The backend broke it off, as it may: what goes on in a tunnel is between its two ends, and no backend
    /// need wait for a client for as long as we do.
    BackendLeft,
    /// The backend sent nothing for too long, and had announced more.
    BackendIdle,
    /// The backend sent nothing for too long, and had announced nothing: an event stream, or a log that is
    /// followed, may have nothing to say.
    BackendQuiet,
    /// The exchange's time was up.
    Deadline,
    /// The client left.
    ClientLeft,
    /// The connection that it shared with others ended, and that has counted already, with one of them.
    ConnectionBroke,
}

/// How long a client may let an answer lie, in all, before it is its own doing that the backend breaks it off:
/// less than servers wait, of which some count from the beginning of the answer, and more than a client takes
/// to which nothing is wrong.
const UNTAKEN: Duration = Duration::from_secs(2);

impl BodyEnd {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Complete,
        Self::BackendBroke,
        Self::BackendLeft,
        Self::BackendIdle,
        Self::BackendQuiet,
        Self::Deadline,
        Self::ClientLeft,
        Self::ConnectionBroke,
    ];

    /// How a body ends that the backend broke off, and whose client had let what came of it lie `untaken` for
    /// so long in all.
    pub fn of_break(untaken: Duration) -> Self {
        if untaken < UNTAKEN { Self::BackendBroke } else { Self::BackendLeft }
    }

    /// How a body ends of which nothing came for too long, and of which so many bytes are `missing`, where
    /// its length was announced.
    pub const fn of_silence(missing: Option<u64>) -> Self {
        match missing {
            Some(_) => Self::BackendIdle,
            None => Self::BackendQuiet,
        }
    }

    /// What it says about the backend. A long exchange is not the backend's fault, and that nothing happens
    /// that it could tell of is nobody's: whoever listens could take it out otherwise.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Complete => Verdict::Success,
            Self::BackendBroke | Self::BackendIdle => Verdict::Failure,
            Self::BackendLeft
            | Self::BackendQuiet
            | Self::Deadline
            | Self::ClientLeft
            | Self::ConnectionBroke => Verdict::Abandoned,
        }
    }

    /// What it comes to where it is the end of a shared connection, and has counted with another request.
    #[must_use]
    pub const fn counted_once(self) -> Self {
        match self {
            Self::BackendBroke => Self::ConnectionBroke,
            end => end,
        }
    }

    /// As written in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::BackendBroke => "backend_broke",
            Self::BackendLeft => "backend_left",
            Self::BackendIdle => "backend_idle",
            Self::BackendQuiet => "backend_quiet",
            Self::Deadline => "deadline",
            Self::ClientLeft => "client_left",
            Self::ConnectionBroke => "connection_broke",
        }
    }
}
