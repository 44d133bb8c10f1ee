//! The loads that are measured, and on what.

use std::time::Duration;

/// What the backend keeps its data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// A file on tmpfs, filled with data.
    File,
    /// `null-co`: completes at once and never touches data, so it shows the protocol alone.
    Null,
}

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

/// Which blocks follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Any, repeatably.
    Random,
    /// One after the other, from the start again at the end.
    Sequential,
}

/// One shape of work, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Which way the data goes.
    pub(crate) direction: Direction,
    /// Which blocks follow each other.
    pub(crate) order: Order,
    /// Bytes per request.
    pub(crate) block: usize,
    /// Requests in flight.
    pub(crate) depth: usize,
    /// Time before counting begins.
    pub(crate) warm_up: Duration,
    /// Time counted.
    pub(crate) measured: Duration,
}

/// A load on a storage, with a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// `4k-randread-qd1`
    pub(crate) name: &'static str,
    /// The work.
    pub(crate) load: Load,
}

/// The four loads; `quick` shortens each.
pub(crate) fn cases(quick: bool) -> [Case; 4] {
    let (warm_up, measured) = if quick { (50, 250) } else { (200, 1000) };
    let case = |name, direction, order, block, depth| Case {
        name,
        load: Load {
            direction,
            order,
            block,
            depth,
            warm_up: Duration::from_millis(warm_up),
            measured: Duration::from_millis(measured),
        },
    };
    [
        case("4k-randread-qd1", Direction::Read, Order::Random, 4 << 10, 1),
        case("4k-randread-qd32", Direction::Read, Order::Random, 4 << 10, 32),
        case("128k-read-qd8", Direction::Read, Order::Sequential, 128 << 10, 8),
        case("128k-write-qd8", Direction::Write, Order::Sequential, 128 << 10, 8),
    ]
}

impl Storage {
    /// Its part in a bench's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Null => "null",
        }
    }

    /// The ratio to reach, where one was set.
    pub(crate) fn goal(self) -> Option<f64> {
        match self {
            Self::File => Some(0.8),
            Self::Null => None,
        }
    }
}
