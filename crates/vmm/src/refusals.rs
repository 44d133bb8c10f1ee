//! The codes `RF0300`–`RF0399`: why a machine or one of its processes was not started.

use ringfence_refusal::Code;

/// Every code of this crate.
pub static CATALOGUE: &[&Code] =
    &[&PROGRAM_NOT_FOUND, &PROPERTY_NOT_YOURS, &QMP_COMMAND_REFUSED, &QMP_NOT_UNDERSTOOD];

/// A program that was to be started is not there.
pub static PROGRAM_NOT_FOUND: Code = Code {
    number: 301,
    name: "program not found",
    sentence: "A program that was to be started is not there, or may not be executed.",
    remedy: "Install the program, correct its name, or give its whole path.",
    page: "Ringfence looks every program up before it starts anything, so that a missing one leaves \
           nothing half started. A name without a slash is looked for in the absolute folders of \
           PATH; a name with a slash is a path. In a VM's configuration such a path is relative to \
           the folder of the configuration file, and `{here}` stands for that folder.",
};

/// A device property that would undo the fence.
pub static PROPERTY_NOT_YOURS: Code = Code {
    number: 302,
    name: "property not yours to set",
    sentence: "A property of a device is set by Ringfence, or cannot be a property.",
    remedy: "Leave the property out; the keys of the device table set what may be chosen.",
    page: "The properties of a device are handed to the VMM as they are, except those that decide \
           which socket the device talks to (`chardev`, `netdev`), how it is known (`id`, \
           `driver`), and how many queues it has (the key `queues` sets that). With the first, a \
           device could be pointed at its backend directly, around its fence.",
};

/// The VMM understood a command and would not carry it out.
pub static QMP_COMMAND_REFUSED: Code = Code {
    number: 303,
    name: "the VMM refused a command",
    sentence: "The VMM understood a QMP command and would not carry it out.",
    remedy: "Read the VMM's own words after the command's name; they say what it minds.",
    page: "Ringfence speaks QMP, QEMU's control protocol, with the VMM it started, to ask how the \
           machine is and to end it. QEMU answered with an error of its own, which is shown whole. \
           When the command was the one that ends the machine, Ringfence ends the process instead.",
};

/// What came over the control socket is not QMP.
pub static QMP_NOT_UNDERSTOOD: Code = Code {
    number: 304,
    name: "the VMM's answer is not QMP",
    sentence: "What came over the VMM's control socket is not QMP, or is longer than any answer is.",
    remedy: "Check that the program given as `vmm` is QEMU, and that nothing else uses its socket.",
    page: "QMP is one JSON object per line, begun by a greeting. A line of more than 1 MiB, one that \
           is not a JSON object, or a connection that ends in the middle is refused rather than \
           guessed at. The machine itself is not affected.",
};
