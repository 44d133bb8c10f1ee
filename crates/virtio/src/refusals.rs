//! Everything the broker refuses, `RF0200` to `RF0299`.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[
    &MALFORMED_MESSAGE,
    &UNSUPPORTED_MESSAGE,
    &WRONG_DESCRIPTORS,
    &OUT_OF_ORDER,
    &FEATURE_NOT_OFFERED,
    &BAD_REGION,
    &BAD_RING,
    &BAD_AVAILABLE_INDEX,
    &BAD_CHAIN,
    &CHAIN_TOO_LARGE,
    &BAD_USED_INDEX,
    &UNKNOWN_COMPLETION,
    &USED_LENGTH,
    &PEER_SILENT,
    &BACKEND_REFUSES,
    &BACKEND_GONE,
    &BAD_CONFIG,
    &BAD_WINDOW,
    &BACKEND_REQUEST,
    &BACKEND_GIVEN_UP,
    &UNSEALED_MEMORY,
    &REQUEST_TOO_LONG,
    &BAD_DEVICE_REQUEST,
    &NO_REGION,
];

ringfence_refusal::codes! {
    /// A message that is not one.
    MALFORMED_MESSAGE = 201, "malformed message":
        "A peer sent bytes that are no vhost-user message of the kind they claim to be.";
        "Check that the right program is at the other end of the socket; if it is, it is broken or hostile.";
        "A vhost-user message has a fixed header (version 1, a size of at most 4096) and a payload whose \
         size follows from its kind. This one had another version, another size, or counts that do not \
         fit its length. The connection is closed: after one malformed message there is no telling where \
         the next begins.";
    /// A message the fence does not let through.
    UNSUPPORTED_MESSAGE = 202, "message not let through":
        "A peer sent a message that the fence does not let through.";
        "Turn off the feature that needs it (the detail names the message), or use another backend.";
        "The broker ends the vhost-user protocol on both sides and knows what every message would do to \
         the fence. Messages that hand a backend more than its window, or map a backend's memory into the \
         VMM, are not relayed; their protocol features are not offered, so a peer that keeps to what was \
         negotiated never sends them.";
    /// Missing or surplus descriptors.
    WRONG_DESCRIPTORS = 203, "wrong descriptors":
        "A message came with too few or too many file descriptors, or with one of the wrong kind.";
        "The peer that sent it is broken or hostile; reset or replace it.";
        "Each vhost-user message carries an exact number of file descriptors: a memory table one per \
         region, a kick or call one eventfd, most none. What came did not fit. The descriptors were closed.";
    /// A message before its time.
    OUT_OF_ORDER = 204, "out of order":
        "A message came before what it depends on, or for a queue that does not exist.";
        "The VMM's vhost-user driver is broken; update it.";
        "A ring can be set up only after features and memory, started only after it was set up, and read \
         only while it exists. The message in the detail came outside that order.";
    /// Features acknowledged that were never offered.
    FEATURE_NOT_OFFERED = 205, "feature not offered":
        "A VMM accepted features that were not offered to it.";
        "The VMM's vhost-user driver is broken; update it.";
        "The broker offers the features the backend has, less those that would break the fence, plus \
         those it ends itself. Accepting any other bit is a protocol error: acting on it would make the \
         two sides disagree about what memory means.";
    /// A memory region that cannot be.
    BAD_REGION = 206, "bad memory region":
        "A VMM named a region of guest memory that cannot be mapped safely.";
        "Give the guest shared memory the VMM can pass on (QEMU: memory-backend-memfd,share=on), and look at the numbers in the detail.";
        "A region is taken only when its file is at least as long as the region says, when it is not empty, \
         does not wrap, does not overlap another, and does not name the window itself. A region longer than \
         its file would make the first access past the end kill the broker.";
    /// A ring that is not where it says.
    BAD_RING = 207, "bad ring":
        "A queue's size or the addresses of its rings are not usable.";
        "The guest's driver or the VMM is broken; reset the device.";
        "A split ring has a power-of-two size of at most 32768; its descriptor table, available ring and \
         used ring are aligned to 16, 2 and 4 bytes and each lies within one region of guest memory that \
         the device was granted. This one does not.";
    /// An available index that ran away.
    BAD_AVAILABLE_INDEX = 208, "available index ran away":
        "A guest published more requests than its ring has places.";
        "Reset the device; if it comes back, the guest's driver is broken or hostile.";
        "The available index moves forward by at most the ring's size between two looks. A larger step is \
         impossible for a correct driver. The queue takes no more requests until it is set up again.";
    /// A chain that is no chain.
    BAD_CHAIN = 209, "malformed descriptor chain":
        "A guest published a descriptor chain that breaks the rules of virtio.";
        "Reset the device; if it comes back, the guest's driver is broken or hostile.";
        "A chain has no loops, no index outside its table, no empty buffer, no device-readable buffer \
         after a device-writable one, and no indirect table within an indirect table or of a length that \
         is not a multiple of 16 (virtio 1.2, section 2.7.5). The queue takes no more requests until it is \
         set up again. Nothing of the chain was copied.";
    /// A chain that can never fit the window.
    CHAIN_TOO_LARGE = 210, "request larger than the window":
        "A guest's request needs more window than the device's queue can ever have.";
        "Give the device a larger window (window = \"…\" in the VM's file, --window on the command line).";
        "Requests wait in the guest's ring while the window is full. One that would not fit even when it \
         is empty would wait for ever, so it is refused instead, with the size it needs.";
    /// A used index that ran away.
    BAD_USED_INDEX = 211, "used index ran away":
        "A backend completed more requests than it was given.";
        "The backend is broken or hostile; replace it.";
        "The used index of a queue moves forward by at most the number of requests outstanding. A backend \
         that moves it further alleges completions of requests that do not exist. The queue is stopped.";
    /// A completion of nothing.
    UNKNOWN_COMPLETION = 212, "completion of no request":
        "A backend completed a request that is not outstanding.";
        "The backend is broken or hostile; replace it.";
        "Each used entry names the request it completes. This one named an id that was never issued, or \
         was completed before. Believing it would copy bytes into memory the guest has long put to other \
         use. The queue is stopped; the guest's memory was not touched.";
    /// A completion that claims too much.
    USED_LENGTH = 213, "completion longer than its buffers":
        "A backend claims to have written more than the request has room for.";
        "The request was completed with the room it had; if it recurs, the backend is broken or hostile.";
        "The length of a used entry says how many bytes the device wrote. Linux hands that number to its \
         drivers unchecked. The broker copies back, and tells the guest, at most what the guest offered \
         as writable.";
    /// No answer in time.
    PEER_SILENT = 214, "no answer in time":
        "A peer did not answer, or did not take, a message within its deadline.";
        "See whether the backend is stopped, overloaded, or waiting for something.";
        "Every exchange with a peer has a deadline, so that one mute process cannot hang another. This one \
         passed it; the connection is treated as dead.";
    /// A backend's own no.
    BACKEND_REFUSES = 215, "backend says no":
        "A backend answered a message with an error, or with an answer that does not fit.";
        "See the backend's own log for its reason.";
        "The backend acknowledged a message with a failure code, replied to another message than the one \
         it was sent, or lacks a feature the fence cannot do without.";
    /// A backend that went away.
    BACKEND_GONE = 216, "backend is gone":
        "A backend closed its connection.";
        "Start the backend again and reset the device; see its log for why it ended.";
        "The device stays attached and the VMM lives on, but requests are no longer served. The broker \
         answers the VMM's messages itself, so that the VMM does not wait for a process that is gone.";
    /// Configuration space out of bounds.
    BAD_CONFIG = 217, "bad configuration access":
        "A configuration space message has an offset or size out of bounds.";
        "The peer that sent it is broken or hostile; reset or replace it.";
        "At most 256 bytes of configuration space can be read or written at a time, and an answer has the \
         offset and size of its question.";
    /// A window that cannot be.
    BAD_WINDOW = 218, "bad window":
        "A window is too small or too large to be of use.";
        "Choose a window between 1 MiB and 64 GiB; 64 MiB serves most disks.";
        "The window holds the rings the backend sees and a bounce buffer for every request in flight. \
         It is rounded up to whole pages. Below 1 MiB a single ordinary disk request may not fit.";
    /// A request of a backend's that is not let through.
    BACKEND_REQUEST = 219, "backend request not let through":
        "A backend asked the VMM for something the fence does not let through.";
        "Turn off the backend's feature that needs it, or use another backend.";
        "Over the backend channel the broker relays one thing: that the configuration space changed. \
         Host notifiers, shared objects and shared memory would map a backend's memory into the VMM or \
         the guest, and are refused.";
    /// A backend that does not come back, or not for long.
    BACKEND_GIVEN_UP = 220, "backend given up":
        "A backend did not come back in time, or died again and again without completing a request.";
        "Find out from the backend's own log why it dies, start it again, and reset the device.";
        "When a backend dies the broker looks for its successor at the same socket, gives it a new \
         window and every request that was in flight, and the guest sees nothing but a pause. It stops \
         looking after a time, and when successor after successor dies without completing a single \
         request: then one of those requests, most likely, is what kills them. The queues are stopped \
         until the guest resets the device.";
    /// Guest memory that can be taken away under the broker.
    UNSEALED_MEMORY = 221, "guest memory not sealed":
        "A VMM named guest memory whose file could be shrunk while it is in use, and sealed memory is required.";
        "Give the guest sealed memory (QEMU: memory-backend-memfd, which seals by itself), or do not require it.";
        "The broker maps the guest's memory. If its file is shrunk while mapped, the next access to what is \
         gone ends the broker (SIGBUS): the device goes with its broker, and nothing of any other VM's. A \
         memory file that is sealed against shrinking cannot be. Some VMMs use files that cannot be sealed, \
         so it is not required unless said so; status shows how much of the memory is not sealed.";
    /// A request with more bytes than its device takes.
    REQUEST_TOO_LONG = 222, "request too long":
        "A guest's request to a device of ours has more bytes than that device takes.";
        "Reset the device; if it comes back, the guest's driver is broken or hostile.";
        "Devices of ours copy a request before they look at it, and do all of its work while the guest's \
         processor waits. So a request is bounded: a balloon takes 4096 page numbers at once, where \
         drivers in use send 256 or 1024. The queue takes nothing more until the device is reset.";
    /// A request that is none of its device's.
    BAD_DEVICE_REQUEST = 223, "not a request of this device":
        "A guest's request to a device of ours is none that the device has.";
        "Reset the device; if it comes back, the guest's driver is broken or hostile.";
        "The request has another form than the specification gives it: bytes that are not whole page \
         numbers, none at all, or a buffer to be written where there is nothing to write. Nothing of it was done. \
         The queue takes nothing more until the device is reset.";
    /// A region that cannot be offered to a guest in blocks.
    NO_REGION = 224, "memory cannot be plugged":
        "The memory that a guest is to plug and unplug is not where, or not as, it has to be.";
        "Give it whole blocks, show it above 4 GiB (2 GiB or more as the BAR of QEMU's ivshmem-plain are), and map it for devices by its blocks.";
        "A memory device parts a region in blocks of one size, of which each is the guest's or the host's. \
         The region has to be whole blocks, at an address that is a multiple of them, above 4 GiB because \
         firmware has processors not cache what it gives to BARs below, and everybody who has some of it mapped \
         has to let go of it first. The guest is shown a region of no size until then.";
}
