//! An SSDT with a device that holds what the guest must keep off.

use ringfence_tables::{Header, Reservation, Table, reserve};

use crate::emit::{Emitted, EmittedFile, holes};
use crate::map::Plan;

/// The file that holds it.
pub(super) const FILE: &str = "ringfence-ssdt.aml";

/// The table, if there is anything to hold.
pub(super) fn table(plan: &Plan) -> Option<Table> {
    let spans = holes(plan);
    let reservation = Reservation { name: *b"RNGF", unique: 1, spans };
    let some = !reservation.spans.is_empty();
    some.then(|| reserve(Header::new(*b"SSDT", 2), &[reservation]))
}

pub(super) fn emit(plan: &Plan) -> Emitted {
    let mut emitted = Emitted::default();
    match table(plan) {
        Some(table) => {
            emitted.text = format!("{FILE}: holds {}\n", listed(plan));
            emitted.files = vec![EmittedFile { name: FILE, bytes: table.write() }];
            emitted.notes.push(
                "A kernel reads it after its memory map: it keeps base addresses off, not memory."
                    .to_owned(),
            );
        }
        None => emitted.text = "nothing to hold\n".to_owned(),
    }
    emitted
}

fn listed(plan: &Plan) -> String {
    holes(plan).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
