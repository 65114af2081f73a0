//! That a request was let through, and as what.

/// In what capacity a request was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The breaker was closed (or there is none).
    Normal,
    /// The breaker was half-open: this request tries the backend out.
    Trial,
    /// The breaker was not asked, since nothing was fit.
    Panic,
}

impl Role {
    /// As written in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Trial => "trial",
            Self::Panic => "panic",
        }
    }
}

/// That a request was let through, in which era, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub(super) era: u16,
    /// In what capacity.
    pub role: Role,
    /// Of a trial, in which round.
    pub(super) round: u8,
}

impl Permit {
    /// Trials of a round that are left when this one has ended.
    pub(super) const fn leaves(self, trials: u8, round: u8) -> u8 {
        if self.round == round { trials.saturating_sub(1) } else { trials }
    }
}
