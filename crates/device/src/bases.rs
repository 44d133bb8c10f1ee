//! Whether an opened function says of its memory what a plan was made for.
//!
//! A plan rests on numbers that were read earlier, on another host perhaps, or typed. The device
//! itself is asked when nobody else can change what it says.

use std::fmt::Display;

use ringfence_addr::{Hpa, PciAddress, Span};
use ringfence_host::Stolen;
use ringfence_refusal::Refusal;

use crate::refusals;
use crate::scrub::Graphics;

/// Where an opened function says its memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bases {
    /// The device's own memory (DSM).
    pub data: Span<Hpa>,
    /// Its page table (GSM).
    pub page_table: Option<Span<Hpa>>,
    /// What firmware keeps of the memory.
    pub firmware: Option<Span<Hpa>>,
    /// The OpRegion.
    pub op_region: Option<Hpa>,
}

impl From<&Graphics> for Bases {
    fn from(graphics: &Graphics) -> Self {
        let Graphics { data, page_table, firmware, op_region, .. } = *graphics;
        Self { data, page_table, firmware, op_region }
    }
}

/// Compares what was planned for with what the open function says; `None` for none.
///
/// What was not known when the plan was made is not compared.
///
/// # Errors
///
/// They differ: the refusal has each thing that does, with both values.
pub fn expect_bases(
    function: PciAddress,
    planned: Option<&Stolen>,
    opened: Option<&Bases>,
) -> Result<(), Refusal> {
    let mut differing = Vec::new();
    let mut compare = |what: &str, planned: Option<String>, opened: Option<String>| {
        if planned != opened {
            let told = |value: Option<String>| value.unwrap_or("none".to_owned());
            differing.push(format!(
                "{what}: planned for {}, and it says {}",
                told(planned),
                told(opened)
            ));
        }
    };
    let span = |span: Option<Span<Hpa>>| span.map(text);
    compare("memory", span(planned.and_then(|it| it.data)), span(opened.map(|it| it.data)));
    compare(
        "page table",
        span(planned.and_then(|it| it.page_table)),
        span(opened.and_then(|it| it.page_table)),
    );
    if let Some(firmware) = planned.and_then(|it| it.firmware.known()) {
        compare("firmware's part", span(*firmware), span(opened.and_then(|it| it.firmware)));
    }
    if let Some(op_region) = planned.and_then(|it| it.op_region.known()) {
        compare("OpRegion", op_region.map(text), opened.and_then(|it| it.op_region).map(text));
    }
    if differing.is_empty() {
        return Ok(());
    }
    let what = format!("{function}: {}", differing.join("; "));
    Err(Refusal::new(&refusals::BASE_CHANGED, what))
}

/// The same where nothing but the whole was planned for: somebody typed it.
///
/// # Errors
///
/// They differ: the refusal has both.
pub fn expect_span(
    function: PciAddress,
    planned: Span<Hpa>,
    opened: Option<&Bases>,
) -> Result<(), Refusal> {
    let whole =
        opened.map(|it| it.page_table.and_then(|own| own.join(&it.data)).unwrap_or(it.data));
    if whole == Some(planned) {
        return Ok(());
    }
    let found = whole.map_or("that it has none".to_owned(), text);
    let what = format!("{function}: planned for memory at {planned}, and it says {found}");
    Err(Refusal::new(&refusals::BASE_CHANGED, what))
}

fn text(value: impl Display) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_host::Fact;

    const FUNCTION: PciAddress = PciAddress::from_requester_id(0, 0x10);

    fn span(first: u64, length: u64) -> Option<Span<Hpa>> {
        Span::from_parts(Hpa::new(first), length)
    }

    fn planned() -> Stolen {
        Stolen {
            generation: 9,
            page_table: span(0x8b80_0000, 8 << 20),
            data: span(0x8c00_0000, 64 << 20),
            firmware: Fact::Known(span(0x8f80_0000, 8 << 20)),
            op_region: Fact::Known(Some(Hpa::new(0x8b5e_7018))),
            registers: Vec::new(),
        }
    }

    fn opened() -> Bases {
        Bases {
            data: span(0x8c00_0000, 64 << 20).expect("memory"),
            page_table: span(0x8b80_0000, 8 << 20),
            firmware: span(0x8f80_0000, 8 << 20),
            op_region: Some(Hpa::new(0x8b5e_7018)),
        }
    }

    #[test]
    fn what_is_as_planned_is_accepted_and_what_was_not_known_is_not_compared() {
        assert_eq!(expect_bases(FUNCTION, Some(&planned()), Some(&opened())), Ok(()));
        let unknown = Stolen { firmware: Fact::default(), op_region: Fact::default(), ..planned() };
        let moved = Bases { firmware: None, op_region: None, ..opened() };
        assert_eq!(expect_bases(FUNCTION, Some(&unknown), Some(&moved)), Ok(()));
        assert_eq!(expect_bases(FUNCTION, None, None), Ok(()));
    }

    #[test]
    fn every_difference_is_refused_with_both_values() {
        let other = span(0x7c00_0000, 32 << 20);
        for (moved, values) in [
            (
                Some(Bases { data: other.expect("memory"), ..opened() }),
                ["0x8c000000-0x8fffffff", "0x7c000000-0x7dffffff"],
            ),
            (Some(Bases { page_table: None, ..opened() }), ["0x8b800000-0x8bffffff", "none"]),
            (
                Some(Bases { firmware: other, ..opened() }),
                ["0x8f800000-0x8fffffff", "0x7c000000-0x7dffffff"],
            ),
            (
                Some(Bases { op_region: Some(Hpa::new(0x1000)), ..opened() }),
                ["0x8b5e7018", "0x1000"],
            ),
            (None, ["0x8c000000-0x8fffffff", "none"]),
        ] {
            let refusal = expect_bases(FUNCTION, Some(&planned()), moved.as_ref());
            let refusal = refusal.expect_err("a difference");
            assert_eq!(refusal.code(), &refusals::BASE_CHANGED);
            assert!(values.iter().all(|value| refusal.detail().contains(value)), "{refusal}");
        }
        assert!(
            expect_bases(FUNCTION, None, Some(&opened())).is_err(),
            "memory nobody planned for"
        );
    }
}
