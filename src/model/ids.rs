//! Identifiers. Each is a type of its own: none is ever a bare number.

use std::fmt;

use uuid::Uuid;

use super::Annotations;

/// Names a task for ever: never used again, while a task's name may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Uuid);

impl Uid {
    /// Wraps a UUID that the shell has drawn.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a number.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// The number of an accepted spec of a uid, from 1.
    Generation(u64)
}
counter! {
    /// The number of an instance of a generation, from 1.
    Attempt(u32)
}
counter! {
    /// An event's place in the log, from 1; 0 is the place before the first.
    Sequence(u64)
}
counter! {
    /// The number of a stretch of a circuit's life; grows at every transition, reset and target change, and never repeats.
    Epoch(u64)
}
counter! {
    /// Names an instance within one process; never used again.
    InstanceId(u64)
}

/// A hash over a task's uid, generation and annotations; what optimistic concurrency compares (AIP-154).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etag(String);

impl Etag {
    /// The etag of a task: a UUIDv5, so it is stable across versions of this program.
    pub fn of(uid: Uid, generation: Generation, annotations: &Annotations) -> Self {
        let mut bytes = generation.get().to_be_bytes().to_vec();
        for (key, value) in annotations.iter() {
            for text in [key, value] {
                bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        Self(Uuid::new_v5(&uid.uuid(), &bytes).simple().to_string())
    }

    /// Takes an etag that a client gave. Every text is one, if only one that matches nothing.
    pub fn given(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a spec watches, as a hash: where a swap changes it, what is known of the old target says nothing of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(Uuid);

impl Target {
    /// The target that a kind calls `key`: a UUIDv5, so it is stable across versions of this program.
    pub fn of(kind: &str, key: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::new_v5(&Uuid::NAMESPACE_OID, kind.as_bytes()), key.as_bytes()))
    }

    /// The target that [`uuid`](Self::uuid) is of.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The hash, for records.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_depends_on_uid_generation_and_annotations_alone() {
        let annotations = |pairs: &[(&str, &str)]| {
            Annotations::try_new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).expect("valid")
        };
        let uid = Uid::new(Uuid::from_u128(1));
        let etag = Etag::of(uid, Generation::new(1), &annotations(&[("a", "bc")]));
        assert_eq!(etag, Etag::of(uid, Generation::new(1), &annotations(&[("a", "bc")])));
        assert_ne!(etag, Etag::of(uid, Generation::new(2), &annotations(&[("a", "bc")])));
        assert_ne!(etag, Etag::of(uid, Generation::new(1), &annotations(&[("ab", "c")])));
        assert_ne!(etag, Etag::of(Uid::new(Uuid::from_u128(2)), Generation::new(1), &annotations(&[("a", "bc")])));
    }
}
