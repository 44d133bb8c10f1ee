//! Config space written by hand, whole, cut and garbled.

use proptest::prelude::*;
use ringfence_addr::PciAddress;

use super::*;
use crate::read::registers::ConfigBytes;

/// A root port: ACS at 0x148, behind another extended capability at 0x100.
fn root_port() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    put(
        &mut bytes,
        0x00,
        &[0x36, 0x1b, 0x0c, 0x00, 0x07, 0x05, 0x10, 0x00, 0x02, 0x00, 0x04, 0x06],
    );
    put(&mut bytes, 0x0c, &[0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x03, 0x05, 0x00]);
    bytes[0x34] = 0x54;
    put(&mut bytes, 0x40, &[0x0d, 0, 0, 0, 0x86, 0x80, 0x34, 0x12]);
    put(&mut bytes, 0x54, &[0x10, 0x40, 0x42, 0x01]);
    put(&mut bytes, 0x100, &[0x01, 0x00, 0x82, 0x14]);
    put(
        &mut bytes,
        0x148,
        &[0x0d, 0x00, 0x01, 0x00, 0x5f, 0x00, 0x1d, 0x00, 0x11, 0x22, 0x33, 0x44],
    );
    bytes
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

fn read(bytes: &[u8], beyond: Gap) -> Function {
    let mut function = Function::new(PciAddress::new(0, 0, 1, 0).expect("an address"));
    describe(&mut function, &mut ConfigBytes::new(bytes, beyond));
    function
}

#[test]
fn a_root_port_is_read_whole() {
    let function = read(&root_port(), Gap::End);
    assert_eq!(function.identity.vendor, Fact::Known(0x1b36));
    assert_eq!(function.identity.device, Fact::Known(0x000c));
    assert_eq!(function.identity.class, Fact::Known(Class { base: 6, sub: 4, interface: 0 }));
    assert_eq!(function.identity.revision, Fact::Known(2));
    assert_eq!(function.identity.subsystem, Fact::Known((0x8086, 0x1234)));
    assert_eq!(function.header, Fact::Known(Header::Bridge { secondary: 3, subordinate: 5 }));
    assert_eq!(function.multifunction, Fact::Known(true));
    assert_eq!(function.pcie, Fact::Known(Some(Pcie { offset: 0x54, port: PortType::RootPort })));
    let acs = Acs {
        offset: 0x148,
        capability: Fact::Known(AcsBits::from_bits_retain(0x5f)),
        control: Fact::Known(AcsBits::REQUIRED),
    };
    assert_eq!(function.acs, Fact::Known(Some(acs)));
    assert_eq!(function.acs_double_word_control, Fact::Known(0x4433_2211));
    assert_eq!(function.virtual_functions, Fact::Known(None));
}

#[test]
fn what_the_kernel_hides_from_others_than_root_needs_root() {
    let bytes = root_port();
    let mut function = Function::new(PciAddress::new(0, 0, 1, 0).expect("an address"));
    describe(&mut function, &mut ConfigBytes::of_file(&bytes[..64]));
    assert_eq!(function.header, Fact::Known(Header::Bridge { secondary: 3, subordinate: 5 }));
    assert_eq!(function.pcie, Fact::Unknown(Unknown::NeedsRoot));
    assert_eq!(function.acs, Fact::Unknown(Unknown::NeedsRoot));
    assert_eq!(function.identity.subsystem, Fact::Unknown(Unknown::NeedsRoot));
}

#[test]
fn without_a_list_of_capabilities_64_bytes_say_all() {
    let mut bytes = root_port();
    bytes[0x06] = 0;
    let function = read(&bytes[..64], Gap::Unread(Unknown::NeedsRoot));
    assert_eq!(function.pcie, Fact::Known(None));
    assert_eq!(function.acs, Fact::Known(None));
    assert_eq!(function.virtual_functions, Fact::Known(None));
}

#[test]
fn a_space_of_256_bytes_has_no_extended_capabilities() {
    let function = read(&root_port()[..256], Gap::End);
    assert_eq!(function.acs, Fact::Known(None));
    let function = read(&root_port()[..256], Gap::Unread(Unknown::NotInSource));
    assert_eq!(function.acs, Fact::Unknown(Unknown::NotInSource));
}

#[test]
fn memory_is_an_address_without_the_bit_of_ports() {
    for (at, what, expected) in [
        (0x10, [0; 4], false),
        (0x10, [0x01, 0xe0, 0, 0], false),
        (0x14, [0x04, 0, 0, 0], true),
        // Not a base address register of a bridge: bus numbers.
        (0x18, [0x00, 0x03, 0x05, 0], false),
    ] {
        let mut bytes = root_port();
        put(&mut bytes, at, &what);
        assert_eq!(read(&bytes, Gap::End).memory, Fact::Known(expected), "{at:#x}: {what:x?}");
    }
}

#[test]
fn ones_are_no_answer() {
    let function = read(&[0xff; 4096], Gap::End);
    assert_eq!(function.identity.vendor, Fact::Unknown(Unknown::NoAnswer));
    assert_eq!(function.header, Fact::Unknown(Unknown::NoAnswer));
    assert_eq!(function.acs, Fact::Unknown(Unknown::NoAnswer));
}

#[test]
fn a_virtual_functions_ids_are_not_in_its_registers() {
    let mut bytes = root_port();
    put(&mut bytes, 0, &[0xff; 4]);
    let mut function = Function::new(PciAddress::new(0, 0, 1, 0).expect("an address"));
    function.identity.vendor = Fact::Known(0x8086);
    describe(&mut function, &mut ConfigBytes::of_file(&bytes));
    assert_eq!(function.identity.vendor, Fact::Known(0x8086));
    assert_eq!(function.identity.device, Fact::Unknown(Unknown::NoAnswer));
    assert!(function.acs.is_known());
}

#[test]
fn loops_and_pointers_into_the_header_are_garbled() {
    for (at, next) in [(0x34, 0x20), (0x41, 0x40), (0x41, 0x10)] {
        let mut bytes = root_port();
        bytes[0x34] = 0x40;
        bytes[at] = next;
        let function = read(&bytes, Gap::End);
        assert_eq!(function.pcie, Fact::Unknown(Unknown::Garbled), "{at:#x} -> {next:#x}");
    }
    let mut bytes = root_port();
    put(&mut bytes, 0x100, &[0x01, 0x00, 0x02, 0x10]);
    let function = read(&bytes, Gap::End);
    assert_eq!(function.acs, Fact::Unknown(Unknown::Garbled));
    assert!(function.pcie.is_known());
}

#[test]
fn a_capability_that_reaches_past_the_end_is_garbled() {
    let mut bytes = root_port();
    put(&mut bytes, 0x100, &[0x01, 0x00, 0xc2, 0xff]);
    put(&mut bytes, 0xffc, &[0x0d, 0x00, 0x01, 0x00]);
    let Fact::Known(Some(acs)) = read(&bytes, Gap::End).acs else { panic!("ACS is there") };
    assert_eq!(acs.control, Fact::Unknown(Unknown::Garbled));
}

#[test]
fn virtual_functions_are_read() {
    let mut bytes = root_port();
    put(&mut bytes, 0x100, &[0x10, 0x00, 0x01, 0x00]);
    put(&mut bytes, 0x108, &[0x09, 0, 0, 0, 8, 0, 8, 0, 3, 0, 0, 0, 0x80, 0x01, 2, 0]);
    put(&mut bytes, 0x118, &[0, 0, 0xca, 0x10]);
    let expected =
        VirtualFunctions { enabled: true, count: 3, offset: 0x180, stride: 2, device: 0x10ca };
    assert_eq!(read(&bytes, Gap::End).virtual_functions, Fact::Known(Some(expected)));
}

/// Registers that count how often they are read.
struct Counted<'a>(ConfigBytes<'a>, usize);

impl Registers for Counted<'_> {
    fn double_word(&mut self, offset: u16) -> Result<u32, Gap> {
        assert!(offset < 4096 && offset.is_multiple_of(4), "{offset:#x}");
        self.1 += 1;
        self.0.double_word(offset)
    }
}

fn reads(bytes: &[u8]) -> usize {
    let mut function = Function::new(PciAddress::new(0, 0, 1, 0).expect("an address"));
    let mut registers = Counted(ConfigBytes::new(bytes, Gap::End), 0);
    describe(&mut function, &mut registers);
    registers.1
}

#[test]
fn no_more_is_read_than_the_header_the_chains_and_what_counts_in_them() {
    // Four double words of ids and layout, one of buses, two base addresses, two pointers; three
    // capabilities, two in one chain and, both looked at, two in the other; and what is in them.
    assert!(reads(&root_port()) <= 20, "{}", reads(&root_port()));
    let mut longest = root_port();
    for offset in (0x100..0x1000_u16).step_by(4) {
        put(&mut longest, offset.into(), &(u32::from(offset + 4) << 20 | 0x1_0001).to_le_bytes());
    }
    assert!(reads(&longest) <= 1024, "{}", reads(&longest));
}

proptest! {
    #[test]
    fn any_bytes_are_read_in_bounded_time(bytes in proptest::collection::vec(any::<u8>(), 4096)) {
        prop_assert!(reads(&bytes) <= 1024);
    }

    #[test]
    fn any_bytes_give_a_function(bytes in proptest::collection::vec(any::<u8>(), 0..4200)) {
        read(&bytes, Gap::End);
    }

    #[test]
    fn any_few_bytes_changed_give_a_function(
        changes in proptest::collection::vec((0..4096_usize, any::<u8>()), 0..64),
        length in 0..=4096_usize,
    ) {
        let mut bytes = root_port();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let function = read(&bytes[..length], Gap::Unread(Unknown::NeedsRoot));
        prop_assert!(length >= 16 || !function.header.is_known());
    }
}
