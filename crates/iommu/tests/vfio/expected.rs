//! What a device's user sees of each scene, line for line, whatever the kernel and the IOMMU.

/// Scenes that go the same way everywhere.
pub(crate) const SCENES: &[(&str, &str)] = &[
    ("reach", REACH),
    ("bad-input", BAD_INPUT),
    ("split", SPLIT),
    ("parts", PARTS),
    ("deadline", DEADLINE),
    ("deaths", DEATHS),
];

/// I18, I24, I26: inside a grant and outside, with its rights, and unmapped at once.
const REACH: &str = "\
nothing mapped: refused
first page of a grant: to page 4
last page: to page 11
the page before: refused
the page behind: refused
the same memory to be read: refused
where the ledger chose: to page 20
unmapping: gone
first page: refused
last page: refused
other memory there: to page 28
64 times mapped, used, unmapped, tried: 0 wrong
";

/// `EEXIST` is 17, `EINVAL` 22.
const BAD_INPUT: &str = "\
overlapping: RF0111
the last page there is: RF0111
around the end: RF0111
where interrupts are written: RF0111
half a page off: RF0111
memory half a page off: RF0108
no memory: RF0107
no right: RF0102
unmapping a part: RF0114
unmapping what is not: RF0114
AllOrNothing: RF0912, RF0111, RF0912; then refused, refused
BestEffort: done, RF0111, done; then to page 8, to page 10
what was there: to page 3
the kernel of an overlap, the window, a part: error 17, error 22, error 22
";

/// I25: of two devices that have a page which its owner gave back, without the ledger and with it.
const SPLIT: &str = "\
edu wrote, its owner reads 0xbadcafe
given back by nobody's leave, its owner reads 0x0
edu reads 0xbadcafe
locked for it: 16 KiB
and then: 0 KiB
without the ledger: to page 0
given back: where its owner never reads
with the ledger: to page 0
giving back: busy with holder 0.0
still: to page 0
unmapping: gone
giving back: free; its owner reads 0x0
then: refused
mapping it: RF0109
taken again: done, to page 0
";

const PARTS: &str = "\
4 mappings, 1 entry of the kernel's
unmapping page 0: still shared; to page 0
unmapping page 1: still shared; to page 1
unmapping page 2: still shared; to page 2
giving page 0 back: busy with holder 0.0
unmapping page 3: gone
page 0: refused
page 1: refused
page 2: refused
page 3: refused
giving all back: free; 0 in the books
";

const DEADLINE: &str = "\
edu, switched off, wrote 0
and on, 7
mapped: to page 1
giving back by 100: asked of holder 0.0
at 99: to page 1; events: 0
at 101: refused; may start transactions: false
the rest of it: refused
cut off, with so many mappings: 1
given back: 0x1000-0x1fff
its owner reads 0x0
mapping anew: RF0116
readmitted, and may: true
what it had: refused
mapped anew: to page 4
";

const DEATHS: &str = "\
mapped: reached true true, pinned 20, locked 80 KiB, in the journal 2, in the books 2
its holder killed: reached false false, pinned 0, locked 0 KiB, in the journal 0, in the books 0
another holder: reached true true, pinned 20, locked 80 KiB, in the journal 2, in the books 2
its owner killed: reached false false, pinned 0, locked 0 KiB, in the journal 0, in the books 0
mapping memory of the dead: RF0105
unmapping it: RF0114
";

/// `ENOSPC` is 28. The kernel has 65,535 entries; neighbours share them.
pub(crate) const LIMIT: &str = "\
by itself: 65535 mappings, then error 28
neighbours: 70000 mappings, 137 entries
first and last are reached: [true, true]; what is behind: false
with gaps: 65535 mappings, then RF0911
the last of them: to page 6
unmapping one: gone
another: done
its holder gone: false
";
