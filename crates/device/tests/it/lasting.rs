//! Claims that outlast a reboot, and the renumbering it may bring.

use ringfence_device::persist::{Persisted, boot_files, forget, install, persisted};
use ringfence_device::refusals;

use crate::failures::{card, code};
use crate::fake::{Host, at};
use crate::kernel::Kernel;

/// A host on which the card is claimed, and the claim persisted.
fn host_with_persisted() -> (Host, Persisted) {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    let claim = host.manager(&kernel).claim(&card()).expect("nothing is in the way");
    let claim = Persisted::of(&claim);
    let files = boot_files("/usr/bin/ringfence", &[&claim]);
    install(&host.root(), &files).expect("folders of ours");
    let found = persisted(&host.root()).expect("files of ours");
    assert_eq!(found.into_values().collect::<Vec<_>>(), std::slice::from_ref(&claim));
    (host, claim)
}

/// Ends the boot: nothing is claimed, and every function has the driver it would have by itself.
fn reboot(host: &Host) {
    for (address, driver) in [("0000:01:00.0", Some("e1000e")), ("0000:01:00.1", None)] {
        host.set_driver(address, driver);
        host.write(&format!("sys/bus/pci/devices/{address}/driver_override"), "(null)\n");
    }
    host.write("proc/sys/kernel/random/boot_id", "second\n");
    let kernel = Kernel::of(host);
    host.manager(&kernel).recover().expect("journals of ours");
}

#[test]
fn functions_are_found_again_after_renumbering() {
    let (host, claim) = host_with_persisted();
    reboot(&host);
    assert_eq!(claim.resolve(&host.root()).expect("all are there"), card());
    host.renumber("0000:01:00.0", "0000:04:00.0");
    host.renumber("0000:01:00.1", "0000:04:00.1");
    let there = ["0000:00:01.0", "0000:04:00.0", "0000:04:00.1"].map(at);
    assert_eq!(claim.resolve(&host.root()).expect("all are there"), there);
    let kernel = Kernel::of(&host);
    let before = host.state();
    let made = host.manager(&kernel).claim_persisted(&claim).expect("nothing is in the way");
    assert!(made.plan.member(at("0000:04:00.0")).is_some());
    host.manager(&kernel).release(there[1]).expect("it is claimed");
    assert_eq!(host.state(), before);
}

#[test]
fn another_card_in_the_slot_is_refused_and_so_is_none() {
    let (host, claim) = host_with_persisted();
    reboot(&host);
    host.write("sys/bus/pci/devices/0000:01:00.1/device", "0x1521\n");
    let before = host.state();
    let kernel = Kernel::of(&host);
    let failure = host.manager(&kernel).claim_persisted(&claim).expect_err("it is another");
    assert_eq!(code(&failure), refusals::CHANGED.number);
    assert!(failure.to_string().contains("0000:00/01.0/00.1 is 8086:1521"), "{failure}");
    std::fs::remove_file(host.join("sys/bus/pci/devices/0000:01:00.1")).expect("a link of ours");
    let failure = claim.resolve(&host.root()).expect_err("it is gone");
    assert_eq!(code(&failure), refusals::NO_FUNCTION.number);
    assert_eq!(kernel.writes(), 0);
    assert_eq!(host.state()[&at("0000:01:00.0")], before[&at("0000:01:00.0")]);
}

#[test]
fn what_the_early_hook_kept_is_claimed_and_released_to_its_driver() {
    let (host, claim) = host_with_persisted();
    reboot(&host);
    let by_itself = host.state();
    // The hook comes before the driver.
    host.set_driver("0000:01:00.0", None);
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    let kept = card().into_iter().map(|function| manager.keep_at_boot(function));
    let kept: Vec<_> = kept.map(|kept| kept.expect("a file of ours")).collect();
    assert_eq!(kept, [None, Some("vfio-pci".to_string()), Some("vfio-pci".to_string())]);
    assert_eq!(manager.keep_at_boot(at("0000:00:02.0")).expect("none of the claim's"), None);
    // The kernel finds vfio-pci for one of them before the claim is made.
    host.set_driver("0000:01:00.1", Some("vfio-pci"));
    manager.claim_persisted(&claim).expect("nothing is in the way");
    assert_eq!(host.state(), crate::failures::claimed());
    manager.release(card()[0]).expect("it is claimed");
    assert_eq!(host.state(), by_itself, "as it would have been without the hook");
}

#[test]
fn what_is_written_for_the_next_boot() {
    let (host, claim) = host_with_persisted();
    let name = claim.name().expect("it has functions");
    assert_eq!(name, "0000:00+01.0");
    let paths: Vec<_> = boot_files("/usr/bin/ringfence", &[&claim])
        .into_iter()
        .map(|file| (file.path, file.mode))
        .collect();
    let expected = [
        ("etc/ringfence/claims/0000:00+01.0.json", 0o600),
        ("etc/udev/rules.d/10-ringfence.rules", 0o644),
        ("etc/modules-load.d/ringfence.conf", 0o644),
        ("etc/initramfs-tools/hooks/ringfence", 0o755),
        ("etc/systemd/system/ringfence-claims.service", 0o644),
    ];
    assert_eq!(paths, expected.map(|(path, mode)| (path.to_string(), mode)));
    let text = std::fs::read_to_string(host.join(expected[0].0)).expect("a file of ours");
    assert!(text.contains("\"place\": \"0000:00/01.0/00.0\""), "{text}");
    assert!(!text.contains("0000:01:00.0"), "an address that may shift: {text}");

    assert!(!forget(&host.root(), "../claims/0000:00+01.0").expect("no such name"));
    assert!(forget(&host.root(), &name).expect("a file of ours"));
    assert!(!forget(&host.root(), &name).expect("it is gone"));
    assert!(persisted(&host.root()).expect("an empty folder").is_empty());
}

#[test]
fn a_file_that_is_no_claim_is_named() {
    let (host, _) = host_with_persisted();
    let path = "etc/ringfence/claims/0000:00+01.0.json";
    for text in ["", "{}", "{\"schema\":\"ringfence.claim/2\",\"functions\":[]}"] {
        host.write(path, text);
        let fault = persisted(&host.root()).expect_err("it is no claim");
        assert!(fault.to_string().contains("0000:00+01.0.json"), "{fault}");
    }
}
