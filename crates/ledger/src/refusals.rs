//! Everything the ledger refuses, `RF0100` to `RF0199`.

use ringfence_refusal::{Code, codes};

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[
    &NOT_GRANTED,
    &RIGHTS,
    &WRAPS,
    &EMPTY,
    &STALE,
    &OVERLAPS,
    &NOT_OWNED,
    &MISALIGNED,
    &RETIRED,
    &QUOTA,
    &BUS_ADDRESS,
    &NO_BUS_ADDRESS,
    &COUNT_FULL,
    &NOT_MAPPED,
    &BUSY,
    &FENCED,
    &QUARANTINED,
];

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

codes! {
    /// No whole frames.
    MISALIGNED = 108, "not whole frames":
        "Memory is mapped and given back in whole frames of 4 KiB, and this was none.";
        "Round the span outward to 4 KiB, or inward if what is beside it must not be reached.";
        "An IOMMU translates whole pages: mapping a part of one would let the device reach the rest of it. \
         The ledger counts frames, and does not round on its own, because whoever asks has to know what \
         the device reaches besides.";

    /// Memory on its way back to its owner, or back already.
    RETIRED = 109, "memory is being given back":
        "The owner has given this memory back, or is about to; no mapping of it may begin.";
        "Map it again when the guest has taken it back (deflated its balloon).";
        "Once an owner wants pages back, no mapping of them may begin, and those that had begun are waited \
         for: otherwise a page could be freed while a mapping of it is being made (XSA-255, XSA-379, \
         XSA-387, XSA-486). A holder that asks meanwhile is refused, whatever it was granted.";

    /// More than the holder may map.
    QUOTA = 110, "over the quota":
        "The holder would have more of the owner's memory mapped than its quota allows.";
        "Unmap what is no longer used, or raise the quota in the VM's file.";
        "Every mapping is charged before it has any effect, in pages and not in calls, so that large pages \
         and small ones count the same. A mapping that is refused has left nothing behind.";

    /// A bus address that cannot be had.
    BUS_ADDRESS = 111, "bus address not to be had":
        "The bus address that a holder asked for is in use, reserved, or none.";
        "Ask for another, or let the ledger choose one.";
        "Bus addresses are those the IOMMU translates, without what the platform reserves (interrupts, \
         regions of firmware's) and without the last page there is, which kernels do not unmap for \
         certain. Where a mapping stands, no other may be made: the first has to be removed, and \
         flushed, before.";

    /// No bus address left.
    NO_BUS_ADDRESS = 112, "no bus address left":
        "No unused run of bus addresses is long enough for the memory.";
        "Unmap what is no longer used, or map in smaller pieces.";
        "The ledger looks for a run at the same distance from a large page's boundary as the memory has, so \
         that both can be one large page. None was left.";

    /// Mapped too often.
    COUNT_FULL = 113, "mapped too often":
        "A frame is mapped 32767 times already, with one right, in one place.";
        "Find the holder that maps the same memory again and again: ringfence status.";
        "Counts are kept for every frame. One that ran over would say that nothing reaches the frame while \
         thirty thousand mappings do; so it is refused before.";

    /// Not one mapping.
    NOT_MAPPED = 114, "not a mapping":
        "What a holder asked to have removed is not exactly one of its mappings, or is being removed already.";
        "Name the handle, or the span as it was mapped; a mapping is removed whole.";
        "A mapping is consumed once. A span that covers half of one, or one and a half, is a holder that \
         has lost count; guessing which it means would let memory go that a device still reaches.";

    /// Still reached.
    BUSY = 115, "memory is in use":
        "Memory cannot be given back, or its holder removed, while mappings count it.";
        "Have the holders named in the message unmap it, or ask for it with a deadline: then their \
         devices are fenced.";
        "A page that a device reaches and that its owner has given to somebody else is memory corruption \
         with no error anywhere: the page is pinned and the device writes to it, while everybody else sees a \
         new page in its place. So giving back is refused as long as any mapping counts a frame of it.";

    /// Nobody maps for it.
    FENCED = 116, "holder is fenced":
        "The holder's device was cut off from memory; nothing is mapped for it.";
        "Reset the device and let it begin anew; the reason it was fenced is in the log.";
        "A holder that died, or did not let go of memory by its deadline, is fenced: its device reaches \
         nothing any more. It begins anew with no mappings.";

    /// Nobody knows what the device reaches.
    QUARANTINED = 117, "memory in quarantine":
        "A mapping could not be undone, or not exactly; what it covered is kept until its space is gone.";
        "Fence the holder: ringfence fences it by itself at its next fault. See what failed in the log.";
        "The kernel, or the hardware, was asked to undo a mapping and did not, or did more or less than it \
         was asked to and called that success. Its memory may be reached, so it stays counted, shown, and \
         used by nobody, until the holder is fenced and its whole space is gone.";
}
