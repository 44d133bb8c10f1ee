//! A kill point: who is killed, when, and over which guest. All of it follows from a seed.

use std::fmt;
use std::time::Duration;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    /// The backend, or one of the processes of its jail.
    Backend,
    /// The fence.
    Fence,
    /// The VMM.
    Vmm,
    /// `ringfence run` itself.
    Run,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// From the moment the victim is there.
    Starting,
    /// From the moment the VMM is there.
    Booting,
    /// From the moment the guest writes and reads.
    Working,
    /// From the moment the guest is done, or the run was asked to stop.
    Ending,
}

/// What the VMM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guest {
    /// A boot sector and its firmware's driver: one request at a time, up at once.
    Firmware,
    /// Linux, several threads, requests of every size.
    Linux,
}

/// How the run would end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The guest switches off.
    ByItself,
    /// `ringfence run` gets a SIGTERM.
    Asked,
}

/// One kill.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) index: u32,
    pub(super) victim: Victim,
    pub(super) phase: Phase,
    pub(super) guest: Guest,
    pub(super) end: End,
    /// How long after the phase began.
    pub(super) delay: Duration,
    /// Which of the victim's processes, if it has several.
    pub(super) pick: usize,
    /// Whether the next run is started while the remains of this one still go.
    pub(super) next_at_once: bool,
}

const VICTIMS: [Victim; 4] = [Victim::Backend, Victim::Fence, Victim::Vmm, Victim::Run];
const PHASES: [Phase; 4] = [Phase::Starting, Phase::Booting, Phase::Working, Phase::Ending];

/// One guest in so many is a Linux, which takes ten times as long.
const LINUX: u64 = 6;

impl Point {
    /// Point `index` of those that `seed` gives. Any 16 in a row have every victim in every phase.
    pub(super) fn new(seed: u64, index: u32) -> Self {
        let mut chance = Chance(seed ^ (u64::from(index) << 32));
        let number = index as usize;
        let victim = VICTIMS[number % 4];
        let phase = PHASES[(number / 4) % 4];
        let guest = match phase {
            Phase::Starting => Guest::Firmware,
            _ if chance.below(LINUX) == 0 => Guest::Linux,
            _ => Guest::Firmware,
        };
        let micros = match (phase, victim, guest) {
            // All of starting up: a quarter of a second, more on a busy machine.
            (Phase::Starting, Victim::Run, _) => chance.below(400_000),
            // What is just being started has its moments close together.
            (Phase::Starting, ..) => chance.small(60_000),
            (Phase::Booting, _, Guest::Firmware) => chance.below(800_000),
            (Phase::Booting, _, Guest::Linux) => chance.below(5_000_000),
            (Phase::Working, ..) => chance.below(500_000),
            (Phase::Ending, ..) => chance.small(16_000),
        };
        Self {
            index,
            victim,
            phase,
            guest,
            end: if chance.below(2) == 0 { End::ByItself } else { End::Asked },
            delay: Duration::from_micros(micros),
            pick: usize::try_from(chance.below(64)).unwrap_or(0),
            next_at_once: chance.below(2) == 0,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, victim, phase, guest, end, delay, .. } = self;
        write!(formatter, "point {index}: {victim:?} {:.1} ms ", delay.as_secs_f64() * 1000.0)?;
        write!(formatter, "into {phase:?}")?;
        if *phase == Phase::Ending {
            write!(formatter, " {end:?}")?;
        }
        write!(formatter, ", {guest:?}")
    }
}

/// Numbers that follow from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Below `limit`, and half of the time below a sixteenth of it.
    fn small(&mut self, limit: u64) -> u64 {
        let limit = if self.below(2) == 0 { limit / 16 } else { limit };
        self.below(limit)
    }
}
