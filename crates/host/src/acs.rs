//! Access Control Services: what a port promises about requests between the functions below it.
//!
//! PCI Express Base 6.0, sections 6.12 and 7.7.11.

use std::fmt;

use bitflags::bitflags;

use crate::fact::Fact;

bitflags! {
    /// Bits of the ACS capability and control registers, at the same places in both.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct AcsBits: u16 {
        /// Source validation.
        const SOURCE_VALIDATION = 0x01;
        /// Translation blocking.
        const TRANSLATION_BLOCKING = 0x02;
        /// Peer-to-peer request redirect.
        const REQUEST_REDIRECT = 0x04;
        /// Peer-to-peer completion redirect.
        const COMPLETION_REDIRECT = 0x08;
        /// Upstream forwarding.
        const UPSTREAM_FORWARDING = 0x10;
        /// Peer-to-peer egress control.
        const EGRESS_CONTROL = 0x20;
        /// Direct translated peer-to-peer.
        const DIRECT_TRANSLATED = 0x40;

        const _ = !0;
    }
}

impl AcsBits {
    /// What Linux requires of isolation (`REQ_ACS_FLAGS`, drivers/iommu/iommu.c).
    pub const REQUIRED: Self = Self::SOURCE_VALIDATION
        .union(Self::REQUEST_REDIRECT)
        .union(Self::COMPLETION_REDIRECT)
        .union(Self::UPSTREAM_FORWARDING);
}

/// A function's ACS extended capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acs {
    /// Where it is in config space; 0 when the source does not say.
    pub offset: u16,
    /// What it is able to do; unknown where the source names the capability and not its registers
    /// (`lspci -v`).
    pub capability: Fact<AcsBits>,
    /// What it was told to do.
    pub control: Fact<AcsBits>,
}

impl fmt::Display for AcsBits {
    /// As `lspci` names them: `SV+RR+`, or `none`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::SOURCE_VALIDATION, "SV"),
            (Self::TRANSLATION_BLOCKING, "TB"),
            (Self::REQUEST_REDIRECT, "RR"),
            (Self::COMPLETION_REDIRECT, "CR"),
            (Self::UPSTREAM_FORWARDING, "UF"),
            (Self::EGRESS_CONTROL, "EC"),
            (Self::DIRECT_TRANSLATED, "DT"),
        ];
        let mut any = false;
        for (bit, name) in names {
            if self.contains(bit) {
                if any {
                    formatter.write_str(" ")?;
                }
                formatter.write_str(name)?;
                any = true;
            }
        }
        if any { Ok(()) } else { formatter.write_str("none") }
    }
}
