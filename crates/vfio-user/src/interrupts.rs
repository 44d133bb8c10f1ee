//! Where a function's interrupts go, for whoever raises them from whatever thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_refusal::{Failure, Refusal};

use crate::device::{InterruptChange, InterruptIndex, SetInterrupts};
use crate::eventfd::Eventfd;
use crate::refusals::NO_INTERRUPT;

/// The interrupts of one function. Clones are handles of the same.
///
/// A device hands what it gets by [`Device::set_interrupts`](crate::Device::set_interrupts) to
/// [`Interrupts::set`] and raises interrupts by [`Interrupts::trigger`] and [`Interrupts::set_level`].
#[derive(Clone, Debug)]
pub struct Interrupts(Arc<Mutex<Kinds>>);

type Kinds = [Vec<Vector>; InterruptIndex::ALL.len()];

#[derive(Debug, Default)]
struct Vector {
    eventfd: Option<Eventfd>,
    is_masked: bool,
    /// Raised while it was masked. For a level-triggered one: whether the line is up.
    is_pending: bool,
}

impl Interrupts {
    /// So many of each kind; those that are not named are none. More than 2048 are 2048.
    pub fn new(counts: &[(InterruptIndex, u32)]) -> Self {
        let mut kinds = Kinds::default();
        for (index, count) in counts {
            let count = (*count).min(crate::wire::VECTORS_MAX);
            kinds[*index as usize] = (0..count).map(|_| Vector::default()).collect();
        }
        Self(Arc::new(Mutex::new(kinds)))
    }

    /// How many there are of a kind, for [`Device::interrupts`](crate::Device::interrupts).
    pub fn count(&self, index: InterruptIndex) -> u32 {
        u32::try_from(self.kinds()[index as usize].len()).unwrap_or(u32::MAX)
    }

    /// Carries a client's wish out.
    ///
    /// # Errors
    ///
    /// `RF1002` for a descriptor that is no eventfd, `RF1008` for a vector there is not. Vectors
    /// before it are changed then.
    pub fn set(&self, set: SetInterrupts) -> Result<(), Failure> {
        let mut kinds = self.kinds();
        let vectors = &mut kinds[set.index as usize];
        let is_level = set.index == InterruptIndex::Intx;
        match set.change {
            InterruptChange::Connect(eventfds) => {
                for (number, eventfd) in set.vectors.into_iter().zip(eventfds) {
                    find(vectors, set.index, number)?.connect(Eventfd::new(eventfd)?, is_level);
                }
            }
            InterruptChange::Disconnect => {
                for number in set.vectors {
                    find(vectors, set.index, number)?.disconnect();
                }
            }
            InterruptChange::Trigger => {
                for number in set.vectors {
                    find(vectors, set.index, number)?.signal();
                }
            }
            InterruptChange::Mask => {
                for number in set.vectors {
                    find(vectors, set.index, number)?.is_masked = true;
                }
            }
            InterruptChange::Unmask => {
                for number in set.vectors {
                    find(vectors, set.index, number)?.unmask(is_level);
                }
            }
        }
        Ok(())
    }

    /// Raises a message-signalled interrupt; whether anybody listens. One that is not connected is
    /// lost, as on a bus; one that is masked is kept back.
    pub fn trigger(&self, index: InterruptIndex, vector: u32) -> bool {
        let mut kinds = self.kinds();
        let vector = usize::try_from(vector).ok().and_then(|at| kinds[index as usize].get_mut(at));
        vector.is_some_and(|vector| vector.raise(false))
    }

    /// Sets the level of the interrupt line. While it is up the client is told once, and again each
    /// time it unmasks the line and finds it up still.
    pub fn set_level(&self, is_up: bool) {
        let mut kinds = self.kinds();
        if let Some(line) = kinds[InterruptIndex::Intx as usize].first_mut() {
            let was_up = std::mem::replace(&mut line.is_pending, is_up);
            if is_up && !was_up {
                line.raise(true);
            }
        }
    }

    /// Whether anything of this kind is connected.
    pub fn is_connected(&self, index: InterruptIndex) -> bool {
        self.kinds()[index as usize].iter().any(|vector| vector.eventfd.is_some())
    }

    /// Forgets the client's eventfds. The line stays as it is.
    pub fn clear(&self) {
        for (kind, vectors) in self.kinds().iter_mut().enumerate() {
            for vector in vectors {
                let is_up = vector.is_pending && kind == InterruptIndex::Intx as usize;
                *vector = Vector { is_pending: is_up, ..Vector::default() };
            }
        }
    }

    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(
    vectors: &mut [Vector],
    index: InterruptIndex,
    number: u32,
) -> Result<&mut Vector, Refusal> {
    let vector = usize::try_from(number).ok().and_then(|at| vectors.get_mut(at));
    vector.ok_or_else(|| Refusal::new(&NO_INTERRUPT, format!("{index:?} {number}")))
}

impl Vector {
    fn connect(&mut self, eventfd: Eventfd, is_level: bool) {
        self.eventfd = Some(eventfd);
        self.unmask(is_level);
    }

    fn disconnect(&mut self) {
        self.eventfd = None;
        self.is_masked = false;
    }

    /// Tells the client, unless it is masked; a line masks itself by that (VFIO: `AUTOMASKED`).
    fn raise(&mut self, is_level: bool) -> bool {
        if self.is_masked {
            self.is_pending = true;
        } else {
            self.signal();
            self.is_masked = is_level && self.eventfd.is_some();
        }
        self.eventfd.is_some()
    }

    fn unmask(&mut self, is_level: bool) {
        self.is_masked = false;
        let was_pending = self.is_pending;
        self.is_pending &= is_level;
        if was_pending {
            self.raise(is_level);
        }
    }

    fn signal(&self) {
        if let Some(eventfd) = &self.eventfd {
            eventfd.signal();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn connect(interrupts: &Interrupts, index: InterruptIndex, vector: u32) -> OwnedFd {
        let ours = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
        let theirs = ours.try_clone().expect("a duplicate");
        set(interrupts, index, vector, InterruptChange::Connect(vec![theirs]));
        ours
    }

    fn set(interrupts: &Interrupts, index: InterruptIndex, vector: u32, change: InterruptChange) {
        let set = SetInterrupts { index, vectors: vec![vector], change };
        interrupts.set(set).expect("it is set");
    }

    fn signals(eventfd: &OwnedFd) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(eventfd, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    #[test]
    fn a_message_goes_where_it_was_connected_and_waits_while_it_is_masked() {
        let interrupts = Interrupts::new(&[(InterruptIndex::MsiX, 4), (InterruptIndex::Msi, 1)]);
        assert!(!interrupts.trigger(InterruptIndex::MsiX, 2), "nobody listens");
        let eventfd = connect(&interrupts, InterruptIndex::MsiX, 2);
        assert!(interrupts.is_connected(InterruptIndex::MsiX));
        assert!(!interrupts.is_connected(InterruptIndex::Msi));
        assert_eq!(signals(&eventfd), 0, "what was lost stays lost");
        assert!(interrupts.trigger(InterruptIndex::MsiX, 2));
        assert!(!interrupts.trigger(InterruptIndex::MsiX, 3));
        assert!(!interrupts.trigger(InterruptIndex::MsiX, 4), "there is no such vector");
        assert_eq!(signals(&eventfd), 1);
        set(&interrupts, InterruptIndex::MsiX, 2, InterruptChange::Mask);
        interrupts.trigger(InterruptIndex::MsiX, 2);
        assert_eq!(signals(&eventfd), 0);
        set(&interrupts, InterruptIndex::MsiX, 2, InterruptChange::Unmask);
        assert_eq!(signals(&eventfd), 1);
        set(&interrupts, InterruptIndex::MsiX, 2, InterruptChange::Unmask);
        assert_eq!(signals(&eventfd), 0);
        set(&interrupts, InterruptIndex::MsiX, 2, InterruptChange::Trigger);
        assert_eq!(signals(&eventfd), 1);
        set(&interrupts, InterruptIndex::MsiX, 2, InterruptChange::Disconnect);
        assert!(!interrupts.trigger(InterruptIndex::MsiX, 2));
    }

    #[test]
    fn a_line_is_told_once_until_it_is_unmasked() {
        let interrupts = Interrupts::new(&[(InterruptIndex::Intx, 1)]);
        interrupts.set_level(true);
        let eventfd = connect(&interrupts, InterruptIndex::Intx, 0);
        assert_eq!(signals(&eventfd), 1, "it was up already");
        interrupts.set_level(true);
        interrupts.set_level(false);
        interrupts.set_level(true);
        assert_eq!(signals(&eventfd), 0, "it has masked itself");
        set(&interrupts, InterruptIndex::Intx, 0, InterruptChange::Unmask);
        assert_eq!(signals(&eventfd), 1, "it is up still");
        interrupts.set_level(false);
        set(&interrupts, InterruptIndex::Intx, 0, InterruptChange::Unmask);
        assert_eq!(signals(&eventfd), 0);
        interrupts.set_level(true);
        assert_eq!(signals(&eventfd), 1);
        interrupts.clear();
        assert!(!interrupts.is_connected(InterruptIndex::Intx));
        let eventfd = connect(&interrupts, InterruptIndex::Intx, 0);
        assert_eq!(signals(&eventfd), 1, "another client finds it up");
    }

    #[test]
    fn only_eventfds_are_signalled_and_never_waited_for() {
        let interrupts = Interrupts::new(&[(InterruptIndex::Msi, 1)]);
        let (pipe, _end) = rustix::pipe::pipe().expect("a pipe");
        let file: OwnedFd = std::fs::File::open("/dev/null").expect("a file").into();
        for descriptor in [pipe, file] {
            let change = InterruptChange::Connect(vec![descriptor]);
            let set = SetInterrupts { index: InterruptIndex::Msi, vectors: vec![0], change };
            let failure = interrupts.set(set).expect_err("no eventfd");
            assert!(failure.to_string().starts_with("RF1002"), "{failure}");
        }
        let eventfd = connect(&interrupts, InterruptIndex::Msi, 0);
        rustix::io::write(&eventfd, &(u64::MAX - 1).to_ne_bytes()).expect("filled");
        rustix::fs::fcntl_setfl(&eventfd, rustix::fs::OFlags::empty()).expect("flags");
        assert!(interrupts.trigger(InterruptIndex::Msi, 0));
    }
}
