//! ACPI tables: an SSDT with a device that holds what the guest must keep off, and what tells the
//! guest's own IOMMU of regions.

use ringfence_refusal::Refusal;
use ringfence_tables::{Header, Reservation, Table, reserve};

use crate::emit::{Emitted, EmittedFile, holes, iommu};
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

pub(super) fn emit(plan: &Plan) -> Result<Emitted, Refusal> {
    let mut emitted = Emitted::default();
    if let Some(table) = table(plan) {
        emitted.text = format!("{FILE}: holds {}\n", listed(plan));
        emitted.files = vec![EmittedFile { name: FILE, bytes: table.write() }];
        emitted.notes.push(
            "A kernel reads it after its memory map: it keeps base addresses off, not memory."
                .to_owned(),
        );
    }
    iommu::emit(plan, &mut emitted)?;
    if emitted.text.is_empty() {
        emitted.text = "nothing to hold\n".to_owned();
    }
    Ok(emitted)
}

fn listed(plan: &Plan) -> String {
    holes(plan).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
