//! Everything a reader of hosts refuses, from `RF0601` on.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] =
    &[&NOTHING_OF_A_HOST, &UNKNOWN_SNAPSHOT, &GARBLED_SNAPSHOT, &SOURCE_TOO_LARGE];

ringfence_refusal::codes! {
    /// No function in what was given.
    NOTHING_OF_A_HOST = 601, "nothing of a host":
        "What was given as a host has no PCI function in it.";
        "Give a file made by `ringfence snapshot`, the output of `lspci -vvvnn` or `lspci -nnxxxx` (as root), \
         or a directory that has sys/bus/pci/devices.";
        "`--from` takes a snapshot, the text or hexadecimal output of lspci, or a directory shaped like `/`, \
         and finds out by itself which it is. What was given is none of them, or holds no function: the \
         detail says what was looked for and where the search ended.";
    /// A snapshot of another version.
    UNKNOWN_SNAPSHOT = 602, "unknown kind of snapshot":
        "A file that begins as a snapshot is of a version that this program does not read.";
        "Read it with the version of Ringfence that made it, or take it again with this one.";
        "The first line of a snapshot names the version of its format. A version is never changed once \
         it is out: what this program does not know was made by a newer one.";
    /// A snapshot that was changed or cut.
    GARBLED_SNAPSHOT = 603, "garbled snapshot":
        "A snapshot has a line that makes no sense, or its end is missing.";
        "Copy it again from where it was made; if somebody edited it, undo that at the line in the detail.";
        "A snapshot ends with a line \"end\", so that one cut short on its way is not taken for a smaller \
         host. Every line before it is a directory (\"in\") or something in it (\"names\", \"text\", \"to\", \
         \"bytes\", \"config\", \"denied\", \"failed\").";
    /// A file too large to be a host.
    SOURCE_TOO_LARGE = 604, "too large":
        "A file that was given as a host is larger than any host's.";
        "Check that it is the right file; if the host is as large as that, give a snapshot of it.";
        "A snapshot of a host of 65,536 functions, the most that a PCI domain can have, takes some tens of \
         MiB, and what lspci prints of it some hundred. More is not read, so that a wrong file does not \
         fill memory.";
}
