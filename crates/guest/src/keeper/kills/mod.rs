//! The service killed before and after each thing it has a device's IOMMU do: its supervisor, which holds
//! the container and the journal, too, finds all of it and leaves nothing.

mod life;
mod step;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

use ringfence_addr::Iova;
use ringfence_iommu::{Journal, Memory, Switch, Type1};

use crate::opened::Function;
use crate::owned::Owned;
use crate::pins::pinned;
use crate::told::{PAGE, failed, faulted};
use crate::writer::Writer;

pub(crate) use life::life;

/// What a life maps of; and all pages of bus addresses that it ever maps.
const PAGES: u64 = 16;
const TRIED: [(u64, u64); 3] = [(0x100, 4), (0x200, 2), (0x300, 1)];
/// More steps than a life has.
const STEPS_MOST: u32 = 200;

pub(crate) fn run() -> Result<(), String> {
    let writer = Writer::open()?;
    let owned = Owned::new(PAGES)?;
    let journal = Journal::new(64).map_err(failed)?;
    let before = pinned()?;
    for step in 1..STEPS_MOST {
        let descriptors =
            [writer.function.container().as_fd(), journal.descriptor(), owned.file.as_fd()];
        let mut command = Command::new("/proc/self/exe");
        command.arg("life").args(descriptors.map(|it| it.as_raw_fd().to_string()));
        let status = command.arg(step.to_string()).status().map_err(|error| error.to_string())?;
        let found = reached(&writer)?;
        let written = journal.found().map_err(|fault| faulted(&fault))?;
        let spans = written.mappings.iter().filter_map(|entry| entry.bus);
        let known: BTreeSet<u64> =
            spans.flat_map(|bus| bus.first().get() / PAGE..=bus.last().get() / PAGE).collect();
        let unknown = found.difference(&known).count();
        let pins = pinned()? - before;
        let recovered = recover(&journal, &writer.function)?;
        let left = journal.found().map_err(|fault| faulted(&fault))?;
        println!(
            "step {step}: {}; reached {}, not in the journal {unknown}, pinned {pins}; settled \
             {recovered}; reached {}, pinned {}, in the journal {}",
            if status.success() { "lived".to_owned() } else { status.to_string() },
            found.len(),
            reached(&writer)?.len(),
            pinned()? - before,
            left.mappings.len() + left.damaged,
        );
        if status.success() {
            return Ok(());
        }
    }
    Err("no life comes to its end".to_owned())
}

/// The pages of bus addresses that the device reaches.
fn reached(writer: &Writer) -> Result<BTreeSet<u64>, String> {
    let mut reached = BTreeSet::new();
    for page in TRIED.into_iter().flat_map(|(first, count)| first..first + count) {
        if writer.reaches(Iova::new(page * PAGE))? {
            reached.insert(page);
        }
    }
    Ok(reached)
}

/// What a supervisor does before it starts a successor: how many mappings were settled.
fn recover(journal: &Journal, function: &Function) -> Result<usize, String> {
    let recovered = journal.recover::<Memory>(|_| {
        let container = function
            .container()
            .try_clone()
            .map_err(|error| ringfence_refusal::Fault::new("keep", "the container", error))?;
        let mut type1 = Type1::of_earlier_life(container)?;
        type1.set_switch(Box::new(function.clone()));
        Ok(Box::new(type1))
    });
    let recovered = recovered.map_err(|fault| faulted(&fault))?;
    if let Some((holder, _, failure)) = recovered.left.first() {
        return Err(format!("{holder}: {failure}"));
    }
    // What it could not reach with its switch off would say nothing.
    function.clone().on().map_err(failed)?;
    Ok(recovered.settled.len())
}
