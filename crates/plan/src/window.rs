//! Windows for backends in the guest's own memory.

use ringfence_addr::{Alignment, Gpa, Span, SpanSet};
use ringfence_refusal::Refusal;

use crate::map::{Entry, PlacedWindow, Use};
use crate::part::{Want, part};
use crate::request::WindowWish;

/// Below, firmware, the kernel's image and its first memory are put.
const ABOVE: Gpa = Gpa::new(256 << 20);
/// What a device with 32 bits of address reaches.
const BELOW: Gpa = Gpa::new((1 << 32) - 1);

/// Places each in memory of the guest's: low enough for every device, above what a booting kernel
/// needs, or else anywhere.
///
/// # Errors
///
/// RF0810, if one does not fit in one piece.
pub(crate) fn place(map: &[Entry], wishes: &[WindowWish]) -> Result<Vec<PlacedWindow>, Refusal> {
    let ram = map.iter().filter(|entry| entry.usage == Use::Ram).map(|entry| entry.span);
    let free: SpanSet<Gpa> = ram.collect();
    let want = |wish: &WindowWish| {
        let want = Want::anywhere(format!("window of {}", wish.name), wish.bytes.get());
        want.aligned(Alignment::PAGE_2M)
    };
    let anywhere: Vec<_> = wishes.iter().map(want).collect();
    let low = Span::new(ABOVE, BELOW);
    let within = |want: &Want<Gpa>| low.map_or(want.clone(), |low| want.clone().within(low));
    let within: Vec<_> = anywhere.iter().map(within).collect();
    let parts = part(&free, &within).or_else(|_| part(&free, &anywhere))?;
    let placed = wishes.iter().zip(parts).flat_map(|(wish, part)| {
        let place = |span| PlacedWindow { name: wish.name.clone(), span, guest: wish.guest };
        part.spans.into_iter().map(place)
    });
    Ok(placed.collect())
}
