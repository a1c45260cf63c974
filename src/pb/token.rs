//! What callers' outcomes bear: which circuit it was, under which epoch, and by which lease. Opaque to them.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::model::{Epoch, Lease, Mono, Uid};

/// `UID.EPOCH`, or `UID.EPOCH.NUMBER.UNTIL` with a lease; all hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) uid: Uid,
    pub(super) epoch: Epoch,
    pub(super) lease: Option<Lease>,
}

/// It is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, epoch, lease } = self;
        write!(f, "{:x}.{:x}", uid.uuid().as_simple(), epoch.get())?;
        match lease {
            Some(Lease { number, until }) => write!(f, ".{number:x}.{:x}", until.as_nanos()),
            None => Ok(()),
        }
    }
}

impl FromStr for Token {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let hex = |part: Option<&str>| {
            let digits = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit())).ok_or(Malformed)?;
            u64::from_str_radix(digits, 16).map_err(|_| Malformed)
        };
        let mut parts = text.split('.');
        let uid = parts.next().and_then(|uid| Uuid::try_parse(uid).ok()).map(Uid::new).ok_or(Malformed)?;
        let epoch = Epoch::new(hex(parts.next())?);
        let lease = match parts.next() {
            None => None,
            number => {
                let number = u32::try_from(hex(number)?).map_err(|_| Malformed)?;
                Some(Lease { number, until: Mono::from_nanos(hex(parts.next())?) })
            }
        };
        if parts.next().is_some() { Err(Malformed) } else { Ok(Self { uid, epoch, lease }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: Uid = Uid::new(Uuid::from_u128(0xabc));

    #[test]
    fn a_token_reads_back_as_itself_and_is_short() {
        let most = Lease { number: u32::MAX, until: Mono::from_nanos(u64::MAX) };
        for lease in [None, Some(Lease { number: 0, until: Mono::ZERO }), Some(most)] {
            for epoch in [0, 1, u64::MAX] {
                let token = Token { uid: UID, epoch: Epoch::new(epoch), lease };
                assert_eq!(token.to_string().parse(), Ok(token));
                assert!(token.to_string().len() <= 128, "{token}");
            }
        }
    }

    #[test]
    fn nothing_else_is_a_token() {
        let token = Token { uid: UID, epoch: Epoch::new(7), lease: Some(Lease { number: 1, until: Mono::ZERO }) };
        let good = token.to_string();
        let uid = &good[..32];
        let bad = [
            String::new(),
            "x".to_owned(),
            uid.to_owned(),
            format!("{uid}."),
            format!("{uid}.7."),
            format!("{uid}.7.1"),
            format!("{uid}.7.1."),
            format!("{uid}.+7"),
            format!("{uid}.7.100000000.0"),
            format!("{uid}.10000000000000000"),
            format!("{good}.0"),
            format!("{good} "),
        ];
        for bad in bad {
            assert_eq!(bad.parse::<Token>(), Err(Malformed), "{bad:?}");
        }
    }
}
