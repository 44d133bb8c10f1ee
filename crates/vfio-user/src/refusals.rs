//! Everything that is refused to a client, from `RF1001` on.

use ringfence_refusal::{Code, Failure};
use rustix::io::Errno;

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[
    &NO_MESSAGE,
    &WRONG_DESCRIPTORS,
    &OUT_OF_ORDER,
    &NO_COMMON_VERSION,
    &UNSUPPORTED,
    &MALFORMED,
    &OUTSIDE_REGION,
    &NO_INTERRUPT,
    &NO_SPAN,
    &SPAN_TAKEN,
    &SPAN_SPLIT,
    &TOO_MANY_MAPPINGS,
    &UNASKED_REPLY,
    &ASKED_WHILE_ANSWERING,
];

ringfence_refusal::codes! {
    /// Bytes that are no message.
    NO_MESSAGE = 1001, "no vfio-user message":
        "The bytes from a client of a served function are no message, or stop in the middle of one.";
        "Check that it is a VMM that connects, and its version (QEMU 10.1 or later).";
        "A message begins with a header that says how long it is. One that is shorter than its header, longer \
         than any message of its kind can be, or neither a request nor a reply ends the connection: where the \
         next message would begin nobody knows.";
    /// Descriptors where none belong, or too many or too few.
    WRONG_DESCRIPTORS = 1002, "wrong descriptors with a message":
        "A message came with descriptors that its kind does not have, or with more or fewer than it says.";
        "Report it to the maintainers of the VMM.";
        "Memory comes with one descriptor or none, interrupts with one for each or none at all, and no more \
         than 16 come at once. What is not expected is closed.";
    /// Not at this time.
    OUT_OF_ORDER = 1003, "out of order":
        "A client asked for something before a version was agreed on, or wanted to agree twice.";
        "Report it to the maintainers of the VMM.";
        "The first message of a connection proposes a version, and no other does.";
    /// Another version.
    NO_COMMON_VERSION = 1004, "no common version":
        "A client speaks a version of vfio-user that is not spoken here, or proposes one in words that cannot \
         be read.";
        "Use a VMM that speaks version 0.0 or any later minor version (QEMU 10.1 or later).";
        "Major version 0 is spoken, with any minor version. What a client can do is a JSON object of at most \
         4 KiB; members that are not known are passed over, and known ones have to have the type that they \
         should have.";
    /// A request that is not known.
    UNSUPPORTED = 1005, "an unsupported request":
        "A client asked for something that a served function cannot do.";
        "Do without it: migration, for one, is not there.";
        "Not there are migration and device features, descriptors for input and output, and eventfds by \
         which a client masks interrupts. VMMs ask for some of these and go on without.";
    /// A request that says what cannot be.
    MALFORMED = 1006, "a request that cannot be":
        "The numbers in a client's request do not fit each other or the length of the message.";
        "Report it to the maintainers of the VMM.";
        "Each request has a length of its own; a count in it has to be that of what follows, and flags have \
         to be those there are.";
    /// A region that does not exist, or more than there is of it.
    OUTSIDE_REGION = 1007, "outside the device's regions":
        "A client wanted to read or write bytes that no region of the device has, or not in this direction.";
        "Look at the guest's driver if it happens again: the VMM lets through what the guest asks for.";
        "Every access is checked against the size of the region and whether it can be read or written before \
         the device is asked. One access has at most 1 MiB.";
    /// An interrupt that does not exist.
    NO_INTERRUPT = 1008, "no such interrupt":
        "A client set up interrupts that the device does not have, or in a way they cannot be set up.";
        "Report it to the maintainers of the VMM.";
        "Interrupts are set up by kind and number, and the device says how many there are of each kind.";
    /// Addresses that are none.
    NO_SPAN = 1009, "no span of bus addresses":
        "A client mapped or unmapped bus addresses that are none: no bytes, not whole pages, beyond the last \
         address, or with neither right.";
        "Report it to the maintainers of the VMM.";
        "Memory is mapped in whole pages of 4 KiB, and the file it is in has offsets for all of it.";
    /// Addresses that have memory already.
    SPAN_TAKEN = 1010, "bus addresses with memory already":
        "A client mapped memory at bus addresses that have some.";
        "Report it to the maintainers of the VMM, or of the IOMMU it emulates.";
        "Memory has to be taken away before other memory takes its place, so that nothing is reached through \
         what was there before. The client is told `EEXIST`, as the protocol has it.";
    /// Part of a mapping.
    SPAN_SPLIT = 1011, "a part of mapped memory":
        "A client unmapped bus addresses that begin or end within memory that was mapped in one piece.";
        "Report it to the maintainers of the VMM.";
        "Memory goes as it came. Several mappings may go at once, and addresses that have none are passed \
         over, as VFIO does it.";
    /// More mappings than there may be.
    TOO_MANY_MAPPINGS = 1012, "too many mappings":
        "A client mapped more pieces of memory than may be mapped at one time.";
        "Give the guest its memory in larger pieces, or no emulated IOMMU.";
        "The most is 65535, which the client was told when it connected.";
    /// A reply to nothing.
    UNASKED_REPLY = 1013, "a reply to nothing":
        "A client sent a reply although nothing was asked of it.";
        "Report it to the maintainers of the VMM.";
        "The connection ends: what else the client believes to have been asked nobody knows.";
    /// A question to someone who waits for an answer.
    ASKED_WHILE_ANSWERING = 1014, "memory wanted while the client waits":
        "A device wanted memory from its client while it was answering that client.";
        "Back the guest's memory with a file that is shared (`memory-backend-memfd,share=on`), or fetch it \
         by a thread of the device's own.";
        "A VMM that waits for a register to be read answers nothing meanwhile. QEMU would wait for 5 seconds \
         and then give up on the device.";
}

/// What a client is told.
pub(crate) fn errno(failure: &Failure) -> Errno {
    let code = match failure {
        Failure::Faulted(fault) => {
            let raw = fault.io_error().raw_os_error();
            return raw.map_or(Errno::IO, Errno::from_raw_os_error);
        }
        Failure::Refused(refusal) => refusal.code(),
    };
    if code == &SPAN_TAKEN {
        Errno::EXIST
    } else if code == &TOO_MANY_MAPPINGS {
        Errno::NOSPC
    } else if code == &UNSUPPORTED {
        Errno::OPNOTSUPP
    } else if CATALOGUE.contains(&code) {
        Errno::INVAL
    } else {
        Errno::PERM
    }
}
