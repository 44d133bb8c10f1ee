//! Everything the ledger refuses, `RF0100` to `RF0199`.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] =
    &[&NOT_GRANTED, &RIGHTS, &WRAPS, &EMPTY, &STALE, &OVERLAPS, &NOT_OWNED];

/// A claim to memory that was not granted.
pub static NOT_GRANTED: Code = Code {
    number: 101,
    name: "memory not granted",
    sentence: "A device claimed memory that its owner never let it reach.",
    remedy: "If the guest is honest, its driver or the VMM's memory table is wrong; if not, the fence has done its work.",
    page: "Every address a guest puts into a descriptor is a claim. It becomes usable only when every \
           byte of it lies in memory the VM owns and has granted to this device. This one did not: it \
           lay, at least in part, outside. Nothing was copied, and the queue it came on takes no more \
           requests until the guest resets the device. Typical causes: a guest driver bug, memory \
           that was unplugged while in use, or an attempt to reach memory that is not the VM's.",
};

/// A claim to more than was granted.
pub static RIGHTS: Code = Code {
    number: 102,
    name: "rights not granted",
    sentence: "A device claimed to write memory that it may only read, or the other way round.",
    remedy: "Grant the device what it needs, or find out why it asks for more.",
    page: "Memory is granted with rights as the device sees them: read (the device may fetch from it) \
           and write (the device may store into it). The claim lay within granted memory but asked \
           for a right the grant does not have. Rights are never widened on the way.",
};

/// A claim that passes the top of its space.
pub static WRAPS: Code = Code {
    number: 103,
    name: "span wraps",
    sentence: "An address and a length together pass the last address of their space.",
    remedy: "The peer that sent the two numbers is broken or hostile; reset or replace it.",
    page: "An address plus a length that wraps around the top of the address space is the oldest trick \
           against bounds checks: unchecked, the end comes out below the start and every comparison \
           passes. Ringfence never adds the two without checking, so the claim is refused before it \
           is compared with anything.",
};

/// A claim to nothing.
pub static EMPTY: Code = Code {
    number: 104,
    name: "empty span",
    sentence: "A peer claimed zero bytes.",
    remedy: "The peer that sent the length is broken or hostile; reset or replace it.",
    page: "A buffer or region of no bytes has no last address, confers nothing, and has confused \
           parsers often enough that it is refused outright (QEMU does the same for virtio buffers).",
};

/// An id whose owner or holder is gone.
pub static STALE: Code = Code {
    number: 105,
    name: "stale id",
    sentence: "An id names an owner or a holder that is gone.",
    remedy: "Ask for the device or the VM again; ids are never reused.",
    page: "Ids of owners and holders carry a generation. When one is removed its place may be used \
           again, but under a new generation, so an id kept too long is refused and never names a \
           stranger.",
};

/// Memory entered twice.
pub static OVERLAPS: Code = Code {
    number: 106,
    name: "memory overlaps",
    sentence: "A VMM named the same guest memory twice.",
    remedy: "Look at the VMM's memory table: its regions must not overlap.",
    page: "Each region of a VM's memory is entered once. Two regions that overlap would make one \
           guest address mean two places; which of them a device reached would depend on the order \
           of a search. The second region is refused and the first stands.",
};

/// Memory that is not the owner's.
pub static NOT_OWNED: Code = Code {
    number: 107,
    name: "not the owner's memory",
    sentence: "Memory was granted or taken back that the VM does not have.",
    remedy: "Look at the VMM's memory table: the region must be one it named before.",
    page: "Only memory that is the owner's can be granted or removed. A VMM that removes a region it \
           never added, or grants past the end of one, has lost count of its own memory.",
};
