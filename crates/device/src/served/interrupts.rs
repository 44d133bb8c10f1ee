//! Interrupts: from the function through the kernel to the client's eventfds, past us.
//!
//! The client's eventfds are handed to the kernel, which signals them; what a guest's interrupt costs is
//! what it would cost if the VMM had opened the function. A descriptor that is no eventfd is the kernel's
//! to turn down.

use std::os::fd::{AsFd, BorrowedFd};

use ringfence_vfio_user::{InterruptChange, InterruptIndex, SetInterrupts};

/// Which interrupts of a kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// How many.
    pub count: u32,
    /// Whether some can be connected while others are.
    pub can_resize: bool,
}

/// What is done about interrupts (`VFIO_IRQ_SET_ACTION_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep them back.
    Mask,
    /// Let them through.
    Unmask,
    /// Raise them; with eventfds, raise these from now on.
    Trigger,
}

impl Action {
    /// The kernel's word for it.
    pub(super) fn flag(self) -> u32 {
        match self {
            Self::Mask => 8,
            Self::Unmask => 16,
            Self::Trigger => 32,
        }
    }
}

/// A change of some interrupts in a row, as the kernel takes it.
#[derive(Debug)]
pub struct Signals<'a> {
    /// The first of them.
    pub first: u32,
    /// How many; none means that all of the kind are let go, and the kind is turned off.
    pub count: u32,
    /// What is done.
    pub action: Action,
    /// Where each goes, if that is what changes; `None` for one that goes nowhere.
    pub eventfds: Option<Vec<Option<BorrowedFd<'a>>>>,
}

impl Signals<'_> {
    /// All interrupts of a kind are let go.
    pub(super) const OFF: Signals<'static> =
        Signals { first: 0, count: 0, action: Action::Trigger, eventfds: None };
}

/// What a client wants, in what the kernel takes: of `there` interrupts of this kind, which is on or off.
///
/// A kind that is off cannot be turned off, and letting go of all of it is how a client turns MSI-X on
/// before any vector is in use.
pub(super) fn signals(set: &SetInterrupts, there: u32, is_on: bool) -> Vec<Signals<'_>> {
    let rows = rows(&set.vectors);
    let told = |action| move |(first, count)| Signals { first, count, action, eventfds: None };
    match &set.change {
        // Once a kind is off it can be turned on with another number of vectors.
        InterruptChange::Disconnect if rows == [(0, there)] && is_on => vec![Signals::OFF],
        InterruptChange::Disconnect if !is_on && set.index != InterruptIndex::MsiX => Vec::new(),
        InterruptChange::Disconnect => rows
            .into_iter()
            .map(|(first, count)| {
                let nowhere = (0..count).map(|_| None).collect();
                Signals { first, count, action: Action::Trigger, eventfds: Some(nowhere) }
            })
            .collect(),
        InterruptChange::Connect(eventfds) => {
            let mut rest = eventfds.iter();
            let mut take = |(first, count): (u32, u32)| {
                let taken = (0..count).map(|_| rest.next().map(AsFd::as_fd)).collect();
                Signals { first, count, action: Action::Trigger, eventfds: Some(taken) }
            };
            rows.into_iter().map(&mut take).collect()
        }
        InterruptChange::Trigger => rows.into_iter().map(told(Action::Trigger)).collect(),
        InterruptChange::Mask => rows.into_iter().map(told(Action::Mask)).collect(),
        InterruptChange::Unmask => rows.into_iter().map(told(Action::Unmask)).collect(),
    }
}

/// Ascending numbers, as rows of neighbours: the first of each, and how many.
fn rows(vectors: &[u32]) -> Vec<(u32, u32)> {
    let mut rows: Vec<(u32, u32)> = Vec::new();
    for vector in vectors {
        match rows.last_mut() {
            Some((first, count)) if first.checked_add(*count) == Some(*vector) => *count += 1,
            _ => rows.push((*vector, 1)),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn set(vectors: &[u32], change: InterruptChange) -> SetInterrupts {
        SetInterrupts { index: InterruptIndex::MsiX, vectors: vectors.to_vec(), change }
    }

    #[test]
    fn a_kind_is_turned_off_only_when_all_of_it_is_let_go() {
        let all = set(&[0, 1, 2], InterruptChange::Disconnect);
        assert_eq!(signals(&all, 3, true)[0].count, 0);
        assert_eq!(signals(&all, 3, false)[0].count, 3, "on, with no vector in use");
        let line =
            SetInterrupts { index: InterruptIndex::Intx, ..set(&[0], InterruptChange::Disconnect) };
        assert_eq!(signals(&line, 1, true)[0].count, 0);
        assert!(signals(&line, 1, false).is_empty());
        let some = set(&[0, 1], InterruptChange::Disconnect);
        let told = signals(&some, 3, true);
        assert_eq!((told[0].first, told[0].count), (0, 2));
        assert!(told[0].eventfds.as_ref().expect("eventfds").iter().all(Option::is_none));
    }

    #[test]
    fn each_eventfd_goes_to_its_vector() {
        let eventfds: Vec<_> =
            (0..2).map(|_| eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd")).collect();
        let numbers: Vec<_> = eventfds.iter().map(|one| format!("{one:?}")).collect();
        let connect = set(&[1, 2], InterruptChange::Connect(eventfds));
        let told = signals(&connect, 4, false);
        assert_eq!((told.len(), told[0].first, told[0].count), (1, 1, 2));
        let given = told[0].eventfds.as_ref().expect("eventfds");
        for (given, number) in given.iter().zip(numbers) {
            let given = format!("{:?}", given.expect("one each"));
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            assert_eq!(digits(&given), digits(&number));
        }
    }

    #[test]
    fn others_are_told_in_rows() {
        let unmask = set(&[0, 1, 4, 6, 7], InterruptChange::Unmask);
        let told: Vec<_> =
            signals(&unmask, 8, true).iter().map(|it| (it.first, it.count, it.action)).collect();
        let action = Action::Unmask;
        assert_eq!(told, [(0, 2, action), (4, 1, action), (6, 2, action)]);
    }
}
