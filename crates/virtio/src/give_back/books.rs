//! Which block a busy page is in, as the ledger has it.

use ringfence_addr::{Gpa, Span};
use ringfence_ledger::{Entry, Holder, Ledger, Owner};

use crate::give_back::Block;

/// The mappings of any part of an owner's memory. Looks at every mapping there is.
pub(super) fn over(ledger: &Ledger, owner: Owner, memory: Span<Gpa>) -> Vec<Entry> {
    ledger.entries().filter(|it| it.owner == owner && it.memory.overlaps(&memory)).collect()
}

/// The block of the first busy page of `memory`, which these mappings have parts of.
pub(super) fn first_block(
    over: &[Entry],
    memory: Span<Gpa>,
    name: impl Fn(Holder) -> String,
) -> Block {
    let busy = over.iter().filter_map(|entry| Some(entry.memory.intersection(&memory)?.first()));
    let first = busy.min().unwrap_or(memory.first());
    let with_it: Vec<&Entry> = over.iter().filter(|it| it.memory.contains(first)).collect();
    // Without a mapping it would have been free.
    let start = with_it.first().map_or(memory, |entry| entry.memory);
    joined(start, &with_it, name)
}

/// A block larger than `block`, if one of these mappings reaches out of it.
pub(super) fn larger(
    over: &[Entry],
    block: Span<Gpa>,
    name: impl Fn(Holder) -> String,
) -> Option<Block> {
    let out: Vec<&Entry> = over.iter().filter(|it| !block.encloses(&it.memory)).collect();
    (!out.is_empty()).then(|| joined(block, &out, name))
}

fn joined(start: Span<Gpa>, entries: &[&Entry], name: impl Fn(Holder) -> String) -> Block {
    let mut block = Block { memory: start, holders: Vec::new() };
    for entry in entries {
        block.memory = block.memory.join(&entry.memory).unwrap_or(block.memory);
        let name = name(entry.holder);
        if !block.holders.contains(&name) {
            block.holders.push(name);
        }
    }
    block
}
