//! Claims that outlast a reboot, and the renumbering it may bring.

use ringfence_device::persist::{Generator, Persisted, boot_files, forget, install, persisted};
use ringfence_device::refusals;

use crate::failures::{card, code};
use crate::fake::{Host, at};
use crate::kernel::Kernel;

/// A host on which the card is claimed, and the claim persisted.
fn host_with_persisted() -> (Host, Persisted) {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    let claim = host.manager(&kernel).claim(&card()).expect("nothing is in the way");
    let claim = Persisted::of(&claim.plan);
    let files = boot_files("/usr/bin/ringfence", BOTH, &claim).expect("a plain path");
    install(&host.root(), &files).expect("folders of ours");
    let found = persisted(&host.root()).expect("files of ours");
    let found: Vec<_> = found.into_values().map(|claim| claim.expect("a file of ours")).collect();
    assert_eq!(found, std::slice::from_ref(&claim));
    (host, claim)
}

const BOTH: &[Generator] = &[Generator::InitramfsTools, Generator::Dracut];

/// Ends the boot: nothing is claimed, and every function has the driver it would have by itself.
fn reboot(host: &Host) {
    for (address, driver) in [("0000:01:00.0", Some("e1000e")), ("0000:01:00.1", None)] {
        host.set_driver(address, driver);
        host.write(&format!("sys/bus/pci/devices/{address}/driver_override"), "(null)\n");
    }
    std::fs::remove_dir_all(host.store().folder()).expect("claims had been made");
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
    let kept = manager.keep_at_boot().expect("files of ours");
    assert_eq!(kept, card()[1..]);
    assert_eq!(manager.keep_at_boot().expect("files of ours"), kept, "for the next event");
    assert_eq!(kernel.writes(), 2, "what is so already is not written again");
    // The kernel finds vfio-pci for one of them before the claim is made.
    host.set_driver("0000:01:00.1", Some("vfio-pci"));
    manager.claim_persisted(&claim).expect("nothing is in the way");
    assert_eq!(host.state(), crate::failures::claimed());
    manager.release(card()[0]).expect("it is claimed");
    assert_eq!(host.state(), by_itself, "as it would have been without the hook");
    assert_eq!(manager.keep_at_boot().expect("files of ours"), [], "it was released");
}

#[test]
fn what_the_hook_kept_for_a_claim_that_is_refused_is_given_back() {
    let (host, claim) = host_with_persisted();
    reboot(&host);
    let by_itself = host.state();
    host.set_driver("0000:01:00.0", None);
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    manager.keep_at_boot().expect("files of ours");
    host.set_driver("0000:01:00.0", Some("vfio-pci"));
    // Another came into the group.
    host.function("0000:00:01.0", "0000:01:00.2", crate::fake::NETWORK, Some("igb"));
    host.group(1, &["0000:01:00.2"]);
    let failure = manager.claim_persisted(&claim).expect_err("it is a part of the group");
    assert_eq!(code(&failure), refusals::PARTIAL.number);
    let mut now = host.state();
    now.remove(&at("0000:01:00.2"));
    assert_eq!(now, by_itself);
    assert!(host.journals().is_empty());

    // One that stands is not touched by one that is refused for it.
    std::fs::remove_file(host.join("sys/kernel/iommu_groups/1/devices/0000:01:00.2"))
        .expect("a link of ours");
    manager.claim_persisted(&claim).expect("nothing is in the way");
    let claimed = host.state();
    let failure = manager.claim_persisted(&claim).expect_err("it stands");
    assert_eq!(code(&failure), refusals::CLAIMED.number);
    assert_eq!(host.state(), claimed);
}

#[test]
fn a_driver_that_was_quicker_than_the_hook_gets_its_function_back() {
    let (host, claim) = host_with_persisted();
    reboot(&host);
    host.set_driver("0000:01:00.0", Some("igb"));
    let before = host.state();
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    assert_eq!(manager.keep_at_boot().expect("files of ours"), [at("0000:01:00.1")]);
    // It came in between the hook's look and its write.
    host.write("sys/bus/pci/devices/0000:01:00.0/driver_override", "vfio-pci\n");
    host.write("sys/bus/pci/devices/0000:01:00.0/native", "igb");
    manager.claim_persisted(&claim).expect("nothing is in the way");
    assert_eq!(host.state(), crate::failures::claimed());
    manager.release(card()[0]).expect("it is claimed");
    assert_eq!(host.state(), before);
}

#[test]
fn the_hook_keeps_nothing_of_a_claim_that_is_not_whole() {
    let (host, _) = host_with_persisted();
    reboot(&host);
    host.write("sys/bus/pci/devices/0000:01:00.1/device", "0x1521\n");
    host.set_driver("0000:01:00.0", None);
    host.write("etc/ringfence/claims/garbled.json", "{");
    let kernel = Kernel::of(&host);
    assert_eq!(host.manager(&kernel).keep_at_boot().expect("one claim, and one garbled"), []);
    assert_eq!(kernel.writes(), 0);
    // A garbled one keeps no other.
    host.write("sys/bus/pci/devices/0000:01:00.1/device", "0x10d3\n");
    assert_eq!(host.manager(&kernel).keep_at_boot().expect("it is whole"), card()[1..]);
}

const NAME: &str = "0000:00+01.0";
const CLAIM: &str = "etc/ringfence/claims/0000:00+01.0.json";

/// The files in the order in which they are written.
const FILES: [(&str, u32); 6] = [
    ("etc/udev/rules.d/10-ringfence.rules", 0o644),
    ("etc/modules-load.d/ringfence.conf", 0o644),
    ("etc/initramfs-tools/hooks/ringfence", 0o755),
    ("etc/dracut.conf.d/ringfence.conf", 0o644),
    ("etc/systemd/system/ringfence-claims.service", 0o644),
    (CLAIM, 0o600),
];

#[test]
fn what_is_written_for_the_next_boot() {
    let (host, claim) = host_with_persisted();
    assert_eq!(claim.name().as_deref(), Some(NAME));
    let files = boot_files("/usr/bin/ringfence", BOTH, &claim).expect("a plain path");
    let paths: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.mode)).collect();
    assert_eq!(paths, FILES, "the claim, without which the others do nothing, at the end");
    let text = std::fs::read_to_string(host.join(CLAIM)).expect("a file of ours");
    assert!(text.contains("\"place\": \"0000:00/01.0/00.0\""), "{text}");
    assert!(!text.contains("0000:01:00.0"), "an address that may shift: {text}");
    let few = boot_files("/usr/bin/ringfence", &[], &claim).expect("a plain path");
    assert_eq!(few.len(), files.len() - BOTH.len(), "no initramfs, no hook");

    assert_eq!(Generator::installed(&host.root()), []);
    host.write("usr/bin/dracut", "");
    assert_eq!(Generator::installed(&host.root()), [Generator::Dracut]);
    host.write("usr/share/initramfs-tools/hook-functions", "");
    assert_eq!(Generator::installed(&host.root()), BOTH);
}

#[test]
fn persisting_twice_is_as_once_and_the_last_claim_forgotten_takes_all_with_it() {
    let (host, claim) = host_with_persisted();
    let whole = |program: &str| {
        let files = boot_files(program, BOTH, &claim).expect("a plain path");
        install(&host.root(), &files).expect("files of ours");
        let texts = files.iter().map(|file| std::fs::read_to_string(host.join(&file.path)));
        let texts: Vec<_> = texts.map(|text| text.expect("it was written")).collect();
        assert!(files.iter().map(|file| &file.text).eq(&texts));
        texts
    };
    let (once, moved, twice) =
        (whole("/usr/bin/ringfence"), whole("/opt/ringfence"), whole("/usr/bin/ringfence"));
    assert!(once == twice && once != moved);
    // One that was left behind by a crash, as a trap.
    host.link("etc/ringfence/claims/0000:00+01.0.new", "etc/precious");
    host.write("etc/precious", "precious");
    assert_eq!(whole("/usr/bin/ringfence"), once);
    assert_eq!(std::fs::read_to_string(host.join("etc/precious")).expect("ours"), "precious");

    let root = host.root();
    host.write("etc/ringfence/claims/other.json", &once[5]);
    host.write(FILES[2].0, "#!/bin/sh\necho an operator\n");
    assert_eq!(forget(&root, "../claims/0000:00+01.0").expect("no such name"), [""; 0]);
    assert_eq!(forget(&root, NAME).expect("a file of ours"), [CLAIM], "there is another");
    assert_eq!(forget(&root, NAME).expect("it is gone"), [""; 0]);
    let removed = forget(&root, "other").expect("the last");
    let shared = [FILES[0], FILES[1], FILES[4], FILES[3]].map(|(path, _)| path);
    assert_eq!(removed[0], "etc/ringfence/claims/other.json");
    assert_eq!(removed[1..], shared, "all but what somebody else wrote there");
    assert!(host.join(FILES[2].0).exists());
    assert!(persisted(&root).expect("an empty folder").is_empty());
}

#[test]
fn what_somebody_else_put_there_is_not_overwritten() {
    for (index, (path, _)) in FILES.into_iter().enumerate() {
        for kind in ["text", "masked", "folder"] {
            let (host, claim) = host_with_persisted();
            std::fs::remove_file(host.join(path)).expect("it was written");
            match kind {
                // A claim is ours by the folder it is in.
                "text" if path == CLAIM => continue,
                "text" => host.write(path, "# mine\n"),
                "masked" => host.link(path, "/dev/null"),
                _ => drop(host.folder(path)),
            }
            std::fs::remove_file(host.join(FILES[(index + 1) % 6].0)).expect("it was written");
            let files = boot_files("/usr/bin/ringfence", BOTH, &claim).expect("a plain path");
            let failure = install(&host.root(), &files).expect_err("it is somebody else's");
            assert_eq!(code(&failure), refusals::NOT_OURS.number);
            assert!(failure.to_string().contains(path), "{failure}");
            assert!(!host.join(FILES[(index + 1) % 6].0).exists(), "written by halves");
        }
    }
}

#[test]
fn where_nothing_can_be_written_the_fault_names_the_file_and_no_claim_is_left() {
    let (host, claim) = host_with_persisted();
    forget(&host.root(), NAME).expect("a file of ours");
    // As a folder that cannot be written to, also for root.
    std::fs::remove_dir(host.join("etc/udev/rules.d")).expect("it is empty");
    host.write("etc/udev/rules.d", "");
    let files = boot_files("/usr/bin/ringfence", BOTH, &claim).expect("a plain path");
    let failure = install(&host.root(), &files).expect_err("a file is in the way");
    assert!(failure.to_string().contains("10-ringfence.rules"), "{failure}");
    assert!(persisted(&host.root()).expect("a folder of ours").is_empty());
}

/// What a shell, udev and systemd would each take for more than text.
const HOSTILE: &[&str] = &[
    "e1000e\"; RUN+=\"/bin/touch /pwned",
    "$(touch /pwned)",
    "`touch /pwned`",
    "'; touch /pwned; '",
    "e1000e, ENV{x}=%k$env{MODALIAS}",
    "../../../../etc/passwd",
    "\u{1b}]0;pwned\u{7}",
];

#[test]
fn nothing_that_a_device_or_another_says_gets_into_what_is_run_at_boot() {
    for text in HOSTILE {
        let (host, _) = host_with_persisted();
        let expected = boot_files("/usr/bin/ringfence", BOTH, &persisted_of(&host));
        let expected = expected.expect("a plain path");
        let kernel = Kernel::of(&host);
        host.manager(&kernel).release(card()[0]).expect("it is claimed");
        host.write("sys/bus/pci/devices/0000:01:00.0/driver_override", text);
        let name = text.replace('/', "!");
        host.set_driver("0000:01:00.1", Some(&name));
        let claim = host.manager(&kernel).claim(&card()).expect("odd, but nothing in the way");
        let claim = Persisted::of(&claim.plan);
        let files = boot_files("/usr/bin/ringfence", BOTH, &claim).expect("a plain path");
        assert_eq!(files[..5], expected[..5]);
        assert_eq!(files[5].path, CLAIM);
        install(&host.root(), &files).expect("files of ours");
        assert_eq!(persisted_of(&host), claim, "kept as it was, as text");
        assert_eq!(claim.functions[1].override_before.as_deref(), Some(*text));
        assert_eq!(claim.functions[2].driver_before.as_deref(), Some(name.as_str()));
    }
}

fn persisted_of(host: &Host) -> Persisted {
    let mut all = persisted(&host.root()).expect("a folder of ours");
    all.remove(NAME).expect("it is there").expect("a file of ours")
}

#[test]
fn a_program_at_an_odd_path_is_not_named_in_what_is_run_at_boot() {
    let (_, claim) = host_with_persisted();
    let odd = HOSTILE.iter().map(|text| format!("/opt/{text}/ringfence"));
    let more = ["ringfence", "", "/usr/bin/ringfence (deleted)", "/opt/my tools/ringfence", "/é"];
    for program in odd.chain(more.map(str::to_string)) {
        // Dots and slashes alone lead somewhere, and nowhere else.
        if program.contains("/etc/passwd") {
            continue;
        }
        let refusal = boot_files(&program, BOTH, &claim).expect_err("it is no plain path");
        assert_eq!(refusal.code().number, refusals::PROGRAM_PATH.number, "{program}");
    }
}

/// `sh -n` of what is run by a shell: it reads, and does nothing.
#[test]
fn the_hook_is_what_a_shell_can_read() {
    let (host, _) = host_with_persisted();
    for (path, _) in [FILES[2], FILES[3]] {
        let output = std::process::Command::new("sh").arg("-n").arg(host.join(path)).output();
        let output = output.expect("every host has a shell");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_file_that_is_no_claim_is_named() {
    let (host, _) = host_with_persisted();
    for text in ["", "{}", "{\"schema\":\"ringfence.claim/2\",\"functions\":[]}"] {
        host.write(CLAIM, text);
        let mut all = persisted(&host.root()).expect("a folder of ours");
        let fault = all.remove(NAME).expect("it is there").expect_err("it is no claim");
        assert!(fault.to_string().contains("0000:00+01.0.json"), "{fault}");
    }
}
