//! The codes `RF0300`–`RF0399`: why a machine or one of its processes was not started.

use ringfence_refusal::Code;

/// Every code of this crate.
pub static CATALOGUE: &[&Code] = &[&PROGRAM_NOT_FOUND];

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
