//! What may leave a host of its kernel's command line.

/// Arguments that are about memory, devices and their isolation, by their beginnings. Others may
/// name people, places and passwords.
const KEPT: &[&str] = &[
    "acpi",
    "amd_iommu",
    "amdgpu",
    "arm-smmu",
    "arm_smmu",
    "cma",
    "console",
    "default_hugepagesz",
    "efi",
    "hugepages",
    "i915",
    "idle",
    "initcall_blacklist",
    "intel_iommu",
    "intremap",
    "iomem",
    "iommu",
    "isolcpus",
    "ivrs_",
    "kvm",
    "mem=",
    "memmap",
    "mitigations",
    "mlx",
    "modprobe.blacklist",
    "module_blacklist",
    "movable_node",
    "nohz_full",
    "nomodeset",
    "nomodule",
    "nouveau",
    "nvidia",
    "nvme",
    "pci",
    "radeon",
    "rcu_nocbs",
    "rd.driver",
    "swiotlb",
    "thunderbolt",
    "vfio",
    "video",
    "virtio",
    "vmd",
    "x2apic",
    "xe.",
    "xen",
];

/// What stands for a value that was not kept.
const WITHHELD: &str = "…";

/// Keeps the arguments that count, and of others that have a value their names. What comes after
/// `--` is for the first process and not for the kernel.
pub(super) fn keep(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    for word in line.split_ascii_whitespace().take_while(|word| *word != "--") {
        let (name, value) = match word.split_once('=') {
            _ if KEPT.iter().any(|beginning| word.starts_with(beginning)) => (word, ""),
            Some((name, _)) if !name.contains('"') => (name, WITHHELD),
            _ => continue,
        };
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(name);
        if !value.is_empty() {
            kept.push('=');
            kept.push_str(value);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_isolation_turns_on_stays_and_secrets_go() {
        let line = "root=UUID=1234 quiet intel_iommu=on pci=config_acs=1@0000:00:01.0 \
                    rd.iscsi.password=secret iommu.passthrough=0 pcie_acs_override=downstream \
                    -- --token hidden";
        let kept = keep(line);
        assert_eq!(
            kept,
            "root=… intel_iommu=on pci=config_acs=1@0000:00:01.0 rd.iscsi.password=… \
             iommu.passthrough=0 pcie_acs_override=downstream"
        );
        assert_eq!(keep(&kept), kept);
    }
}
