//! The vhost-user devices QEMU can have, by the word people use for them.

use ringfence_refusal::Refusal;

use crate::refusals;

/// A kind of vhost-user device that can be fenced by its descriptors alone.
///
/// Left out on purpose are those whose requests carry guest addresses or host mappings in their
/// payload (gpu, vga): a fence that never reads a payload cannot hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceKind {
    /// "blk".
    pub name: &'static str,
    /// The device model of QEMU's that drives it.
    pub model: &'static str,
    /// The property that says how many request queues there are, where that can be said.
    pub queues_property: Option<&'static str>,
    /// A property that QEMU refuses to do without, other than the socket.
    pub required_property: Option<&'static str>,
    /// Whether QEMU's model would also offer the interface from before virtio 1.0, which vhost-user
    /// backends do not speak and some firmware (OVMF) prefers. It is then switched off.
    pub has_legacy_interface: bool,
}

const fn kind(
    name: &'static str,
    model: &'static str,
    queues_property: Option<&'static str>,
    required_property: Option<&'static str>,
    has_legacy_interface: bool,
) -> DeviceKind {
    DeviceKind { name, model, queues_property, required_property, has_legacy_interface }
}

/// Every kind, in alphabetical order.
pub static KINDS: &[DeviceKind] = &[
    kind("blk", "vhost-user-blk-pci", Some("num-queues"), None, true),
    kind("fs", "vhost-user-fs-pci", Some("num-request-queues"), Some("tag"), false),
    kind("gpio", "vhost-user-gpio-pci", None, None, false),
    kind("i2c", "vhost-user-i2c-pci", None, None, false),
    kind("input", "vhost-user-input-pci", None, None, true),
    // QEMU takes the number of queues of a network device on its `-netdev`.
    kind("net", "virtio-net-pci", Some("queues"), None, true),
    kind("rng", "vhost-user-rng-pci", None, None, false),
    kind("scsi", "vhost-user-scsi-pci", Some("num_queues"), None, true),
    kind("snd", "vhost-user-snd-pci", None, None, false),
    kind("spi", "vhost-user-spi-pci", None, None, false),
    kind("vsock", "vhost-user-vsock-pci", None, None, true),
];

impl DeviceKind {
    /// The kind called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }
}

/// The value of a device property: it prints as QEMU wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// `on` or `off`.
    Switch(bool),
    /// A number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl std::fmt::Display for Property {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch(true) => formatter.write_str("on"),
            Self::Switch(false) => formatter.write_str("off"),
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

/// Checks the name of a property somebody wants to set on a device.
///
/// Those that would take the device off its fence (`chardev`, `netdev`) or its place in our
/// bookkeeping (`id`, `driver`) are not theirs to set.
pub fn check_property_name(kind: &DeviceKind, name: &str) -> Result<(), Refusal> {
    let ours = ["chardev", "netdev", "id", "driver"].contains(&name);
    let well_formed = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let reason = if ours {
        "Ringfence sets it".to_owned()
    } else if Some(name) == kind.queues_property {
        "the key `queues` sets it".to_owned()
    } else if !well_formed {
        "QEMU's properties are letters, digits, `-` and `_`".to_owned()
    } else {
        return Ok(());
    };
    Err(Refusal::new(&refusals::PROPERTY_NOT_YOURS, format!("`{name}`: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_sorted_and_found() {
        assert!(KINDS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(DeviceKind::named("blk").map(|kind| kind.model), Some("vhost-user-blk-pci"));
        assert_eq!(DeviceKind::named("gpu"), None);
    }

    #[test]
    fn a_property_cannot_move_a_device_off_its_fence() {
        let blk = DeviceKind::named("blk").expect("blk is a kind");
        assert_eq!(check_property_name(blk, "bootindex"), Ok(()));
        for name in ["chardev", "id", "num-queues", "a,chardev", "", "Addr"] {
            let refusal = check_property_name(blk, name).expect_err(name);
            assert_eq!(refusal.code(), &refusals::PROPERTY_NOT_YOURS);
        }
    }
}
