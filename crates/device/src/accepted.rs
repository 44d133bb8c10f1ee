//! Drivers that VFIO lives with: none of them gives a device memory to reach on the host's behalf.
//!
//! The kernel marks them `driver_managed_dma` and lets a group be taken while they are bound in it.
//! For a bridge that is its port driver; for a function, VFIO's own drivers and the two that only
//! hold a place.

/// The driver that serves any function.
pub const VFIO_PCI: &str = "vfio-pci";

/// What is written to `driver_override` so that no driver takes a function: there is none of this
/// name.
pub const NO_DRIVER: &str = "none";

/// VFIO's drivers for particular devices, with state of their own to migrate or reset.
const VARIANTS: &[&str] = &[
    "hisi_acc_vfio_pci",
    "hisi-acc-vfio-pci",
    "ism_vfio_pci",
    "mlx5_vfio_pci",
    "nvgrace_gpu_vfio_pci",
    "pds_vfio_pci",
    "qat_vfio_pci",
    "virtio_vfio_pci",
    "xe_vfio_pci",
];

/// Drivers that hold a place and start nothing.
const PLACEHOLDERS: &[&str] = &["pci-stub", "pcieport"];

/// Whether the kernel lets a group be taken while this driver is bound in it.
pub fn is_accepted(driver: &str) -> bool {
    serves_vfio(driver) || PLACEHOLDERS.contains(&driver)
}

/// Whether this driver gives the function to whoever opens it through VFIO.
pub fn serves_vfio(driver: &str) -> bool {
    driver == VFIO_PCI || VARIANTS.contains(&driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vfio_drivers_and_placeholders_are_accepted_and_no_others() {
        for driver in ["vfio-pci", "mlx5_vfio_pci", "pci-stub", "pcieport"] {
            assert!(is_accepted(driver), "{driver}");
        }
        for driver in ["e1000e", "nvidia", "shpchp", "vfio", "", "none"] {
            assert!(!is_accepted(driver), "{driver}");
        }
        assert!(!serves_vfio("pci-stub"));
    }
}
