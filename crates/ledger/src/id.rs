//! Ids with generations, and the table that hands them out.

use std::fmt;

use ringfence_refusal::Refusal;

use crate::refusals::STALE;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) Id);

        impl $name {
            /// As it is told to somebody who will only give it back.
            pub fn number(self) -> u64 {
                u64::from(self.0.generation) << 32 | u64::from(self.0.index)
            }

            /// From what somebody says it was told: a claim, which is refused where it names nobody.
            pub fn from_number(number: u64) -> Self {
                let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
                let index = u32::from_le_bytes([a, b, c, d]);
                Self(Id { index, generation: u32::from_le_bytes([e, f, g, h]) })
            }
        }

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
    /// One mapping: memory of an owner that a holder reaches.
    Handle,
    "mapping"
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
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl Id {
    /// The place it has, which something else may have after it.
    pub(crate) fn place(self) -> u32 {
        self.index
    }

    /// How many were at that place before it.
    pub(crate) fn generation(self) -> u32 {
        self.generation
    }

    /// The id that has both.
    pub(crate) fn of(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn add(&mut self, value: T) -> Id {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.generation += 1;
            slot.value = Some(value);
            return Id { index, generation: slot.generation };
        }
        self.slots.push(Slot { generation: 0, value: Some(value) });
        let place = self.slots.len() - 1;
        let index = u32::try_from(place).expect("fewer than 2^32 of anything fit in memory");
        Id { index, generation: 0 }
    }

    /// What is at a place now.
    pub(crate) fn at(&self, place: u32) -> Option<(Id, &T)> {
        let slot = self.slots.get(place as usize)?;
        let id = Id { index: place, generation: slot.generation };
        slot.value.as_ref().map(|value| (id, value))
    }

    pub(crate) fn at_mut(&mut self, place: u32) -> Option<(Id, &mut T)> {
        let slot = self.slots.get_mut(place as usize)?;
        let id = Id { index: place, generation: slot.generation };
        slot.value.as_mut().map(|value| (id, value))
    }

    pub(crate) fn get(&self, id: Id, shown: impl fmt::Display) -> Result<&T, Refusal> {
        self.slots
            .get(id.index as usize)
            .filter(|slot| slot.generation == id.generation)
            .and_then(|slot| slot.value.as_ref())
            .ok_or_else(|| Refusal::new(&STALE, shown.to_string()))
    }

    pub(crate) fn get_mut(&mut self, id: Id, shown: impl fmt::Display) -> Result<&mut T, Refusal> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation)
            .and_then(|slot| slot.value.as_mut())
            .ok_or_else(|| Refusal::new(&STALE, shown.to_string()))
    }

    pub(crate) fn remove(&mut self, id: Id, shown: impl fmt::Display) -> Result<T, Refusal> {
        let value = self
            .slots
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation)
            .and_then(|slot| slot.value.take())
            .ok_or_else(|| Refusal::new(&STALE, shown.to_string()))?;
        // A place whose generations are used up stays empty rather than name a stranger.
        if id.generation < u32::MAX {
            self.free.push(id.index);
        }
        Ok(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            let id = Id { index, generation: slot.generation };
            slot.value.as_ref().map(|value| (id, value))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }
}
