//! Whether the journal takes in what clients command (lifecycle.md §6).

/// How the journal is. What has been admitted is never refused later; facts are never refused at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Admission {
    /// It commits what it is given.
    #[default]
    Open,
    /// It has not committed for a while what it was given.
    Stalled,
    /// Its store has no space left, or hardly any.
    Full,
}

impl Admission {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Open, Self::Stalled, Self::Full];

    /// The name as metrics write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Stalled => "stalled",
            Self::Full => "full",
        }
    }
}
