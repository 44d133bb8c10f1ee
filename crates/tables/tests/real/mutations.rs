//! Real tables with changes that nobody meant.

use ringfence_tables::{TARGETS, Table};

use crate::data::machines;

/// Changes made to each table.
const CHANGES: u32 = 40;

/// Numbers from a fixed seed (xorshift64).
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below an index")
    }
}

/// Numbers that arithmetic goes wrong with.
const ODD: [u8; 8] = [0, 1, 4, 0x7f, 0x80, 0xf0, 0xfe, 0xff];

pub(crate) fn any_change() {
    let mut seed = Seed(0x7ab1_e5ee_d001);
    for (name, given, ..) in machines() {
        let target = if name.starts_with("DMAR") { "tables_dmar" } else { "tables_ivrs" };
        let (_, run) = TARGETS.iter().find(|(each, _)| *each == target).expect("a target");
        for _ in 0..CHANGES {
            let mut bytes = given.clone();
            for _ in 0..=seed.below(4) {
                let at = seed.below(bytes.len());
                match seed.below(4) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes.insert(at, ODD[seed.below(ODD.len())]),
                    _ => bytes[at] = ODD[seed.below(ODD.len())],
                }
            }
            run(&bytes);
            if let Ok((table, _)) = Table::read(&bytes) {
                assert_eq!(table.write(), bytes, "{name}");
            }
        }
    }
}
