//! What a device may do with memory.
//!
//! Directions are as the *device* sees them: `READ` lets it read guest memory, `WRITE` lets it
//! write there. Rights only narrow: there is no operation that adds one.

use core::fmt;

/// Read, write, both or neither, as the device sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// No rights.
    pub const NONE: Self = Self(0);
    /// The device may read.
    pub const READ: Self = Self(1);
    /// The device may write.
    pub const WRITE: Self = Self(2);
    /// The device may read and write.
    pub const READ_WRITE: Self = Self(3);

    /// Whether everything in `needed` is allowed. Needing nothing is always allowed.
    #[inline]
    pub const fn allows(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// The rights in both.
    #[inline]
    #[must_use]
    pub const fn narrow(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are no rights.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// `rw`, `r-`, `-w` or `--`.
impl fmt::Display for Rights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match *self {
            Self::READ_WRITE => "rw",
            Self::READ => "r-",
            Self::WRITE => "-w",
            _ => "--",
        })
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Rights({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    const ALL: [Rights; 4] = [Rights::NONE, Rights::READ, Rights::WRITE, Rights::READ_WRITE];

    fn may(rights: Rights) -> (bool, bool) {
        (rights.allows(Rights::READ), rights.allows(Rights::WRITE))
    }

    #[test]
    fn each_constant_allows_what_it_is_called() {
        assert_eq!(ALL.map(may), [(false, false), (true, false), (false, true), (true, true)]);
    }

    #[test]
    fn rights_are_allowed_only_when_all_of_them_are() {
        for held in ALL {
            for needed in ALL {
                let (reads, writes) = may(held);
                let (need_read, need_write) = may(needed);
                let allowed = (reads || !need_read) && (writes || !need_write);
                assert_eq!(held.allows(needed), allowed, "{held} for {needed}");
            }
        }
    }

    #[test]
    fn narrowing_never_adds_a_right() {
        for one in ALL {
            for other in ALL {
                let both = one.narrow(other);
                assert!(one.allows(both) && other.allows(both), "{one} {other} {both}");
                assert_eq!(may(both).0, may(one).0 && may(other).0);
                assert_eq!(may(both).1, may(one).1 && may(other).1);
                assert_eq!(both.is_empty(), may(both) == (false, false));
            }
        }
    }

    #[test]
    fn rights_print_as_a_file_mode_would() {
        assert_eq!(ALL.map(|rights| rights.to_string()), ["--", "r-", "-w", "rw"]);
        assert_eq!(format!("{:?}", Rights::READ), "Rights(r-)");
        assert_eq!(format!("{:>4}", Rights::WRITE), "  -w");
    }
}
