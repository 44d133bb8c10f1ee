//! Everything a reader of tables refuses, from `RF0851` on.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] =
    &[&NOT_A_TABLE, &NOT_AN_E820_EXTENSION, &NOT_A_ZERO_PAGE, &NOT_A_RESERVATION, &TOO_LARGE];

ringfence_refusal::codes! {
    /// Too short for a header.
    NOT_A_TABLE = 851, "not an ACPI table":
        "What was given as an ACPI table is too short for the header of one.";
        "Give the bytes of a table, as in /sys/firmware/acpi/tables (root may read them) or as acpidump -b writes them.";
        "Every ACPI table begins with a header of 36 bytes: four letters, a length, a checksum and who made it. \
         Anything that is as long as that is read, and what is wrong with it is told as findings; this is not.";
    /// Not a setup_data of type 1.
    NOT_AN_E820_EXTENSION = 852, "not an E820 extension":
        "What was given as more E820 entries for Linux is not a setup_data node of type SETUP_E820_EXT.";
        "Give a node of type 1 whose length is a multiple of 20 bytes.";
        "A boot loader that has more than 128 E820 entries hands the rest to Linux in a setup_data node: the \
         address of the next node (8 bytes), the type (4 bytes, 1 for E820), the length of what follows (4 bytes), \
         and entries of 20 bytes.";
    /// Too short, or a count that cannot be.
    NOT_A_ZERO_PAGE = 853, "not a zero page":
        "What was given as the boot parameters of Linux is shorter than a page, or counts more E820 entries than fit.";
        "Give the 4096 bytes of struct boot_params; entries over 128 go into a SETUP_E820_EXT node.";
        "The boot parameters of the x86 Linux kernel (the zero page) have room for 128 E820 entries, at 0x2d0, \
         and a byte at 0x1e8 that counts them.";
    /// AML of another form.
    NOT_A_RESERVATION = 854, "not a reservation":
        "What was given as an SSDT that reserves memory has AML of another form in it.";
        "Give a table that consists of devices with names _HID, _UID and _CRS, as Ringfence writes it.";
        "Ringfence writes a table (SSDT) with a motherboard resource (PNP0C02) whose _CRS names memory, so that \
         a guest keeps away from it, and reads such tables back to check them. It does not run AML: methods, \
         conditions and the like are not read.";
    /// Larger than any table.
    TOO_LARGE = 855, "too large for a table":
        "What was given as an ACPI table is larger than any is.";
        "Check that it is the right file.";
        "The tables that this program reads take some KiB, and the largest in the field are below 64 KiB. \
         More than 1 MiB is not read, so that a wrong file neither fills memory nor takes for ever.";
}
