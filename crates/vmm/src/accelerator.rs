//! What runs the guest's instructions, decided without trusting `/dev/kvm` alone.
//!
//! That `/dev/kvm` opens, and even that it makes a virtual machine, does not mean that an ordinary
//! guest runs on it: under a software KVM (PVM, as some cloud machines have it) it dies in its first
//! instructions. QEMU's own fallback (`-accel kvm -accel tcg`) looks at the former only. So
//! [`Accelerator::usable`] also wants the processor to say it virtualizes.

use std::fs::OpenOptions;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's translator: slow, and works everywhere.
    Tcg,
    /// The host kernel's hypervisor.
    Kvm,
}

impl Accelerator {
    /// The fastest one an ordinary guest can be expected to run on here.
    pub fn usable() -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let opens = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        if opens && says_it_virtualizes(&processor) { Self::Kvm } else { Self::Tcg }
    }

    /// As QEMU's `-accel` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// Whether the flags in `/proc/cpuinfo` include Intel's or AMD's virtualization.
fn says_it_virtualizes(processor: &str) -> bool {
    processor
        .lines()
        .filter_map(|line| line.strip_prefix("flags")?.split_once(':'))
        .any(|(_, flags)| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_flag_counts() {
        assert!(says_it_virtualizes("model name\t: svm\nflags\t\t: fpu vmx sse\n"));
        assert!(says_it_virtualizes("flags\t\t: svm"));
        assert!(!says_it_virtualizes(
            "model name\t: vmx svm\nflags\t\t: fpu svm_lock hypervisor\n"
        ));
        assert!(!says_it_virtualizes("vmx flags\t: vnmi\n"));
        assert!(!says_it_virtualizes(""));
    }
}
