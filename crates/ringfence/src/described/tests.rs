//! Descriptions of others: what is read of them, and that nothing breaks the readers.

use proptest::prelude::*;
use ringfence_host::{Function, HostMemory};

use super::*;

const XML: &str = "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>desk</name>
  <maxMemory slots='4' unit='GiB'>12</maxMemory>
  <memory unit='GiB'>5</memory>
  <os><type arch='x86_64' machine='pc-q35-9.2'>hvm</type></os>
  <cpu mode='host-passthrough'><maxphysaddr mode='passthrough' limit='39'/></cpu>
  <devices>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <source><address domain='0x0000' bus='0x00' slot='0x02' function='0x0'/></source>
    </hostdev>
    <interface type='hostdev'>
      <source><address type='pci' domain='0x0000' bus='0x03' slot='0x10' function='0x1'/></source>
    </interface>
    <memory model='dimm'><target><size unit='GiB'>1</size></target></memory>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-machine'/><qemu:arg value='max-ram-below-4g=2016M'/>
  </qemu:commandline>
</domain>";

const CONF: &str = "#comment: none
args: -machine max-ram-below-4g=1G
bios: ovmf
cpu: host,phys-bits=40
hostpci0: 0000:01:00,pcie=1,x-vga=1
hostpci1: 00:02.0,legacy-igd=1
hostpci2: mapping=nic
machine: pc-q35-9.0
memory: 8192
name: win11

[before]
memory: 1
machine: pc
";

const ARGUMENTS: &str = "/usr/bin/qemu-system-x86_64\0-name\0guest=run,debug-threads=on\0-m\0size=4G,slots=2,maxmem=8G\0-machine\0q35,accel=kvm\0-machine\0max-ram-below-4g=2016M\0-cpu\0host,host-phys-bits-limit=39\0-device\0vfio-pci,host=00:02.0,x-igd-gms=2\0-device\0{\"driver\":\"vfio-pci\",\"host\":\"0000:01:00.0\"}\0-device\0e1000e\0";

fn host() -> Host {
    let mut host = Host::default();
    for address in ["00:02.0", "01:00.0", "01:00.1", "03:10.1"] {
        let address = address.parse().expect("an address");
        host.functions.insert(address, Function::new(address));
    }
    host
}

fn described(text: &str) -> Described {
    let read = foreign(text.as_bytes(), &host(), "named").expect("it is somebody else's");
    read.expect("it is a VM")
}

fn memory(vm: &Described) -> u64 {
    vm.asked.memory.get()
}

fn functions(vm: &Described) -> Vec<String> {
    vm.functions().map(|address| address.to_string()).collect()
}

#[test]
fn a_domain_of_libvirts_is_read() {
    let vm = described(XML);
    assert_eq!((vm.name.as_str(), vm.words), ("desk", Words::Libvirt));
    assert_eq!((memory(&vm), vm.machine), (4 << 30, Some(Machine::Q35)));
    assert_eq!(vm.low_bytes.map(NonZeroU64::get), Some(2016 << 20));
    assert_eq!(functions(&vm), ["0000:00:02.0", "0000:03:10.1"]);
    let request = vm.request().expect("its machine is known");
    assert_eq!((request.hotplug.bytes, request.hotplug.slots), (8 << 30, 4));
    assert_eq!(request.address_bits, Some(39));
    assert!(vm.remarks.is_empty(), "{:?}", vm.remarks);
}

#[test]
fn a_configuration_of_proxmoxs_is_read_up_to_its_snapshots() {
    let vm = described(CONF);
    assert_eq!((vm.name.as_str(), vm.words), ("win11", Words::Proxmox));
    assert_eq!((memory(&vm), vm.machine), (8 << 30, Some(Machine::Q35)));
    assert_eq!(vm.low_bytes.map(NonZeroU64::get), Some(1 << 30));
    // Without a function it is every function of the slot.
    assert_eq!(functions(&vm), ["0000:01:00.0", "0000:01:00.1", "0000:00:02.0"]);
    assert_eq!(vm.remarks.len(), 1);
    assert!(vm.remarks[0].contains("mapping `nic`"), "{:?}", vm.remarks);
    let bare = described("bootdisk: scsi0\n");
    assert_eq!((memory(&bare), bare.machine), (512 << 20, Some(Machine::I440fx)));
}

#[test]
fn arguments_of_qemu_are_read() {
    let vm = described(ARGUMENTS);
    assert_eq!((vm.name.as_str(), vm.words), ("run", Words::Qemu));
    assert_eq!((memory(&vm), vm.machine), (4 << 30, Some(Machine::Q35)));
    assert_eq!(vm.low_bytes.map(NonZeroU64::get), Some(2016 << 20));
    assert_eq!(functions(&vm), ["0000:00:02.0", "0000:01:00.0"]);
    assert_eq!(vm.policy("00:02.0".parse().expect("an address")), Policy::Relocate);
    assert_eq!(vm.request().map(|one| one.hotplug.bytes), Some(4 << 30));
    assert!(!vm.keeps_off);
    let told = described("qemu-system-x86_64\0-device\0loader,file=x,addr=0x1000\0");
    assert!(told.keeps_off);
    assert_eq!((memory(&told), told.machine), (128 << 20, Some(Machine::I440fx)));
    let loader =
        described("/lib/ld.so\0--library-path\0x\0/usr/bin/qemu-system-x86_64\0-m\0size=1G\0");
    assert_eq!(memory(&loader), 1 << 30);
}

#[test]
fn a_machine_that_is_not_known_is_said_not_to_be() {
    let vm = described("qemu-system-x86_64\0-M\0microvm\0");
    assert_eq!((vm.machine, vm.request()), (None, None));
    assert!(vm.remarks[0].contains("`microvm`"), "{:?}", vm.remarks);
}

#[test]
fn what_describes_no_vm_is_refused() {
    for (text, why) in [
        ("<domain>", "XML: "),
        ("<network/>", "without a <domain>"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><domain/>", "XML: "),
        ("<domain><memory unit='parsec'>1</memory></domain>", "how much memory"),
        ("<domain/>", "how much memory"),
        ("bash\0-c\0true\0", "`bash` is not QEMU"),
        ("memory: 0\n", "how much memory"),
        ("qemu-system-x86_64\0-m\0size=0\0", "how much memory"),
    ] {
        let read = foreign(text.as_bytes(), &host(), "named").expect("it is somebody else's");
        let refusal = read.expect_err("it is no VM");
        assert_eq!(refusal.code(), &refusals::NOT_A_VM);
        assert!(refusal.detail().contains(why), "{text}: {refusal}");
    }
    assert!(foreign(b"[vm]\nname = \"a\"\n", &host(), "named").is_none(), "it is ours");
    assert!(foreign(b"\xff\xfe", &host(), "named").is_none(), "our reader says what is wrong");
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![Just(XML), Just(CONF), Just(ARGUMENTS)];
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_usize);
    (piece, prop::collection::vec(change, 0..12)).prop_map(|(text, changes)| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte, kind) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_give_a_vm_or_a_refusal(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..512),
        mutated(),
    ]) {
        let host = host();
        if let Some(Ok(vm)) = foreign(&bytes, &host, "named") {
            let regions = HostMemory::of(&host);
            let checks = crate::doctor::examine(&host, &regions, Some(&vm));
            prop_assert!(!checks.is_empty());
            // What is not understood is said, and never makes up a function.
            prop_assert!(memory(&vm) > 0);
        }
    }
}
