//! Tests of SSDTs that hold memory.

use super::*;

fn span(first: u64, last: u64) -> Span<Gpa> {
    Span::new(Gpa::new(first), Gpa::new(last)).expect("a span")
}

fn header() -> Header {
    Header::new(*b"SSDT", 2)
}

#[test]
fn what_is_written_reads_back() {
    let spans = vec![span(0x7c80_0000, 0x7fff_ffff), span(0x40_0000_0000, 0x40_000f_ffff)];
    let one = Reservation { name: *b"RFM0", unique: 1, spans };
    let top = vec![span(0, 0xffff_ffff), span(0xffff_f000, 0xffff_ffff), span(!0xfff, u64::MAX)];
    let many = (0..200).map(|index| span(index * 0x2000, index * 0x2000 + 0xfff)).collect();
    let others = [(*b"RFM1", top), (*b"RFM2", many), (*b"RFM3", vec![])];
    let others = others.into_iter().zip(2..).map(|((name, spans), unique)| Reservation {
        name,
        unique,
        spans,
    });
    let all: Vec<Reservation> = std::iter::once(one).chain(others).collect();
    for count in 0..=all.len() {
        let table = reserve(header(), &all[..count]);
        let (read, findings) = Table::read(&table.write()).expect("it has a header");
        assert_eq!(findings, []);
        assert_eq!(read_reservations(&read).expect("it is one"), &all[..count]);
    }
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let one =
        Reservation { name: *b"RFM0", unique: 7, spans: vec![span(0x7c80_0000, 0x7fff_ffff)] };
    let table = reserve(header(), &[one]);
    let Content::Other(body) = table.content else { panic!("AML") };
    let device = [
        b"RFM0".as_slice(),
        &[8, b'_', b'H', b'I', b'D', 0x0c, 0x41, 0xd0, 0x0c, 0x02],
        &[8, b'_', b'U', b'I', b'D', 0x0c, 7, 0, 0, 0],
        &[8, b'_', b'C', b'R', b'S', 0x11, 0x14, 0x0c, 0x0e, 0, 0, 0],
        &[0x86, 9, 0, 1, 0, 0, 0x80, 0x7c, 0, 0, 0x80, 3, 0x79, 0],
    ];
    let device = device.concat();
    let length = |content: usize| u8::try_from(content).expect("short");
    let mut expected = vec![0x10, length(1 + 5 + 3 + device.len())];
    expected.extend(b"\\_SB_");
    expected.extend([0x5b, 0x82, length(1 + device.len())]);
    expected.extend(device);
    assert_eq!(body, expected);
}

/// As iasl 20200925 disassembles it to `Memory32Fixed` and a consumed `QWordMemory` in a PNP0C02.
#[test]
fn a_table_that_a_disassembler_reads_is_written_the_same() {
    let spans = vec![span(0x7c80_0000, 0x7fff_ffff), span(0x40_0000_0000, 0x40_000f_ffff)];
    let table = reserve(header(), &[Reservation { name: *b"RFM0", unique: 1, spans }]);
    let Content::Other(body) = table.content else { panic!("AML") };
    let shown: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = "104c065c5f53425f5b82430652464d30085f4849440c41d00c02085f5549440c01000000\
                    085f4352531143040c3c000000860900010000807c000080038a2b00000d010000000000\
                    0000000000000040000000ffff0f00400000000000000000000000000010000000000079\
                    00";
    assert_eq!(shown, expected);
}

#[test]
fn other_aml_is_refused() {
    // A method; a scope that ends early; a name of a kind that is not read.
    let bodies = [
        vec![0x14, 6, b'M', b'E', b'T', b'H', 0],
        vec![0x10, 0x20, b'_', b'S', b'B', b'_'],
        vec![8, b'P', b'K', b'G', b'0', 0x12, 2, 0],
    ];
    for body in bodies {
        let table = Table::new(header(), Content::Other(body));
        let refusal = read_reservations(&table).expect_err("not of our form");
        assert_eq!(refusal.code(), &NOT_A_RESERVATION);
    }
    let (dmar, _) = Table::read(&crate::made::dmar(vec![]).write()).expect("it has a header");
    assert_eq!(read_reservations(&dmar).expect_err("no AML").code(), &NOT_A_RESERVATION);
}

#[test]
fn other_devices_hold_nothing() {
    let mut device = b"COM0".to_vec();
    name(&mut device, b"_HID", &[TEXT, b'X', 0]);
    name(&mut device, b"_UID", &[1]);
    name(&mut device, b"_STA", &[BYTE, 0xf]);
    let mut body = vec![EXTENDED, DEVICE];
    package(&mut body, &device);
    let table = Table::new(header(), Content::Other(body));
    assert_eq!(read_reservations(&table).expect("it is read"), []);
}
