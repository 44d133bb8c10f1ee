//! A device that writes where it is told, at once: QEMU's `iommu-testdev` (`docs/specs/iommu-testdev.rst`).

use std::fmt;

use ringfence_addr::Iova;
use ringfence_device::Access;
use ringfence_refusal::Fault;

use crate::opened::Function;
use crate::owned::Owned;
use crate::told::faulted;

/// Where it is in the lab's host.
const ADDRESS: &str = "0000:00:02.0";

/// Its registers: reading the first one starts it.
const START: u64 = 0x00;
const TARGET: u64 = 0x04;
const LENGTH: u64 = 0x0c;
const RESULT: u64 = 0x10;
const ARM: u64 = 0x14;
const COMPARED_WITH: u64 = 0x1c;

/// What it writes.
pub(crate) const WRITTEN: u32 = 0x1234_5678;
/// What it says when it could not. (It compares with memory it is told of, here none of interest: that
/// it finds something else there is no failure.)
const NOT_WRITTEN: u32 = 0xdead_0002;
const COMPARED: [u32; 3] = [0, 0xdead_0003, 0xdead_0004];

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// The IOMMU let it not.
    Refused,
    /// It is in these pages, as their owner reads them.
    To(Vec<u64>),
}

impl fmt::Display for Went {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => formatter.write_str("refused"),
            Self::To(pages) if pages.is_empty() => {
                formatter.write_str("where its owner never reads")
            }
            Self::To(pages) => {
                let pages: Vec<String> = pages.iter().map(u64::to_string).collect();
                write!(formatter, "to page {}", pages.join(" and "))
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) function: Function,
}

impl Writer {
    pub(crate) fn open() -> Result<Self, String> {
        Ok(Self { function: Function::open(ADDRESS)? })
    }

    /// Has it write, and looks through the owner's memory for what it wrote.
    pub(crate) fn write(&self, at: Iova, owned: &Owned) -> Result<Went, String> {
        for page in 0..owned.pages {
            if owned.word(page)? == WRITTEN {
                owned.set(page, 0)?;
            }
        }
        if !self.reaches(at)? {
            return Ok(Went::Refused);
        }
        let mut found = Vec::new();
        for page in 0..owned.pages {
            if owned.word(page)? == WRITTEN {
                found.push(page);
            }
        }
        Ok(Went::To(found))
    }

    /// Has it write; whether it could.
    pub(crate) fn reaches(&self, at: Iova) -> Result<bool, String> {
        let answer = self.start(at).map_err(|fault| faulted(&fault))?;
        match answer {
            NOT_WRITTEN => Ok(false),
            answer if COMPARED.contains(&answer) => Ok(true),
            answer => Err(format!("the device says {answer:#x} of {at}")),
        }
    }

    fn start(&self, at: Iova) -> Result<u32, Fault> {
        let mut opened = self.function.opened();
        opened.write(0, TARGET, &at.get().to_le_bytes()[..4])?;
        opened.write(0, TARGET + 4, &at.get().to_le_bytes()[4..])?;
        opened.write(0, LENGTH, &4_u32.to_le_bytes())?;
        opened.write(0, COMPARED_WITH, &[0; 4])?;
        opened.write(0, COMPARED_WITH + 4, &[0; 4])?;
        opened.write(0, ARM, &1_u32.to_le_bytes())?;
        let mut bytes = [0; 4];
        opened.read(0, START, &mut bytes)?;
        opened.read(0, RESULT, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// One write of a register that does nothing: what it costs to go through to the device.
    pub(crate) fn touch(&self) -> Result<(), String> {
        let written = self.function.opened().write(0, LENGTH, &4_u32.to_le_bytes());
        written.map_err(|fault| faulted(&fault))
    }
}
