//! What of the device's memory is left alone, because firmware put it there for whoever drives it.

use ringfence_addr::{Hpa, Span};
use ringfence_host::graphics::Platform;
use ringfence_refusal::Fault;

use crate::access::{Access, register_u32};

/// Pages that are not cleared, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where, in whole pages.
    pub span: Span<Hpa>,
    /// What is there, with the register that says so.
    pub why: String,
}

/// Reads what the design may have. What lies in `firmware`'s part is left alone with that.
///
/// Some of these registers read as zero while the device's engines sleep; Linux wakes them first.
/// Asleep, nothing but `firmware`'s part is kept, and on machines that Linux saves power on that is
/// where all of it is.
pub(super) fn read(
    access: &mut dyn Access,
    platform: &Platform,
    data: Span<Hpa>,
    firmware: Option<Span<Hpa>>,
) -> Result<Vec<Kept>, Fault> {
    let mut kept: Vec<Kept> = Vec::new();
    for keep in platform.keeps() {
        if let Some((register, bits)) = keep.only_if
            && register_u32(access, 0, register)? & bits != bits
        {
            continue;
        }
        let value = register_u32(access, 0, keep.register)?;
        let is_apart = |span: &Span<Hpa>| firmware.is_none_or(|own| !own.encloses(span));
        if let Some(span) = keep.area(value, data).filter(is_apart) {
            let why = format!("{}, register {:#x} = {value:#010x}", keep.what, keep.register);
            kept.push(Kept { span, why });
        }
    }
    Ok(kept)
}
