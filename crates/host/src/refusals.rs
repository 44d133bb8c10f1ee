//! Everything a reader of hosts refuses, from `RF0601` on.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[&NOTHING_OF_A_HOST];

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $short:literal: $sentence:literal; $remedy:literal; $page:literal;)*) => {
        $($(#[$doc])*
        pub static $name: Code = Code {
            number: $number, name: $short, sentence: $sentence, remedy: $remedy, page: $page,
        };)*
    };
}

codes! {
    /// No function in what was given.
    NOTHING_OF_A_HOST = 601, "nothing of a host":
        "What was given as a host has no PCI function in it.";
        "Give a file made by `ringfence snapshot`, the output of `lspci -vvvnn` or `lspci -nnxxxx` (as root), \
         or a directory that has sys/bus/pci/devices.";
        "`--from` takes a snapshot, the text or hexadecimal output of lspci, or a directory shaped like `/`, \
         and finds out by itself which it is. What was given is none of them, or holds no function: the \
         detail says what was looked for and where the search ended.";
}
