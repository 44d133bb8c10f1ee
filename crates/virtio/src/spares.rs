//! Things kept for the memory they have, so that the next of their kind need not ask for any.
//!
//! What is kept is bounded both ways: a guest could otherwise have us make one request after the
//! other extraordinarily large, keep each small afterwards, and so grow our memory far beyond what
//! its requests in flight need.

/// The most that are kept: more requests than are ordinarily in flight.
const KEPT_MAX: usize = 256;

/// The most room one may have to be kept: for more buffers than an ordinary request has.
const ROOM_MAX: usize = 256;

/// Something that has room for so many buffers.
pub(crate) trait Roomy: Default {
    /// How many.
    fn room(&self) -> usize;
}

/// The spare ones of a kind.
#[derive(Debug, Default)]
pub(crate) struct Spares<T>(Vec<T>);

impl<T: Roomy> Spares<T> {
    /// One that was kept, or a new one.
    pub(crate) fn take(&mut self) -> T {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps one for later, or not.
    pub(crate) fn keep(&mut self, spare: T) {
        if self.0.len() < KEPT_MAX && spare.room() <= ROOM_MAX {
            self.0.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Roomy for Vec<u8> {
        fn room(&self) -> usize {
            self.capacity()
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_size() {
        let mut spares = Spares::default();
        for _ in 0..3 {
            let mut taken: Vec<Vec<u8>> = (0..10_000).map(|_| spares.take()).collect();
            for (number, bytes) in taken.iter_mut().enumerate() {
                bytes.reserve_exact(if number % 2 == 0 { ROOM_MAX } else { 1 << 16 });
            }
            taken.into_iter().for_each(|bytes| spares.keep(bytes));
            assert_eq!(spares.0.len(), KEPT_MAX);
            assert!(spares.0.iter().all(|bytes| bytes.capacity() <= ROOM_MAX));
        }
    }

    #[test]
    fn what_is_kept_is_used_again() {
        let mut spares = Spares::default();
        spares.keep(Vec::<u8>::with_capacity(7));
        assert_eq!(spares.take().capacity(), 7);
        assert_eq!(spares.take().capacity(), 0);
    }
}
