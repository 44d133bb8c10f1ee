//! Everything that can be odd about a table, each with what Linux and Xen do about it.
//!
//! Linux 6.12: `drivers/iommu/intel/{dmar,iommu}.c`, `drivers/iommu/amd/init.c`,
//! `drivers/acpi/arm64/iort.c`. Xen 4.20: `xen/drivers/passthrough/vtd/dmar.c`,
//! `xen/drivers/passthrough/amd/iommu_acpi.c`; Xen on x86 reads neither IORT nor VIOT.

use crate::finding::{FindingCode, Severity};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $severity:ident: $sentence:literal; $linux:literal; $xen:literal;)*) => {
        $($(#[$doc])*
        pub static $name: FindingCode = FindingCode {
            name: $text, severity: Severity::$severity, sentence: $sentence, linux: $linux, xen: $xen,
        };)*

        /// All of them.
        pub(super) static FINDINGS: &[&FindingCode] = &[$(&$name),*];
    };
}

mod amd;
mod any;
mod arm;
mod intel;

pub use amd::*;
pub use any::*;

pub use arm::*;
pub use intel::*;

/// All of them, by family.
pub fn all() -> impl Iterator<Item = &'static FindingCode> {
    [any::FINDINGS, intel::FINDINGS, amd::FINDINGS, arm::FINDINGS].into_iter().flatten().copied()
}

#[cfg(test)]
mod tests;
