//! Ids with generations, and the table that hands them out.

use std::fmt;

use ringfence_refusal::Refusal;

use crate::refusals::STALE;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) Id);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($noun, " {}.{}"), self.0.index, self.0.generation)
            }
        }
    };
}

id!(
    /// A virtual machine whose memory it is.
    Owner,
    "owner"
);
id!(
    /// A device or backend that reaches an owner's memory.
    Holder,
    "holder"
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    index: u32,
    generation: u32,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by id; a place is used again, an id never.
pub(crate) struct Slots<T>(Vec<Slot<T>>);

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add(&mut self, value: T) -> Id {
        // A place whose generations are used up stays empty rather than name a stranger.
        let free =
            self.0.iter().position(|slot| slot.value.is_none() && slot.generation < u32::MAX);
        let place = match free {
            Some(place) => {
                let slot = &mut self.0[place];
                slot.generation += 1;
                slot.value = Some(value);
                place
            }
            None => {
                self.0.push(Slot { generation: 0, value: Some(value) });
                self.0.len() - 1
            }
        };
        let index = u32::try_from(place).expect("fewer than 2^32 owners and holders fit in memory");
        Id { index, generation: self.0[place].generation }
    }

    pub(crate) fn get(&self, id: Id, shown: impl fmt::Display) -> Result<&T, Refusal> {
        self.0
            .get(id.index as usize)
            .filter(|slot| slot.generation == id.generation)
            .and_then(|slot| slot.value.as_ref())
            .ok_or_else(|| Refusal::new(&STALE, shown.to_string()))
    }

    pub(crate) fn get_mut(&mut self, id: Id, shown: impl fmt::Display) -> Result<&mut T, Refusal> {
        self.0
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation)
            .and_then(|slot| slot.value.as_mut())
            .ok_or_else(|| Refusal::new(&STALE, shown.to_string()))
    }

    pub(crate) fn remove(&mut self, id: Id, shown: impl fmt::Display) -> Result<T, Refusal> {
        self.0
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation)
            .and_then(|slot| slot.value.take())
            .ok_or_else(|| Refusal::new(&STALE, shown.to_string()))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().filter_map(|slot| slot.value.as_mut())
    }
}
