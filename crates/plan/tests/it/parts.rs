//! Parting a space.

use ringfence_addr::{Alignment, Gpa, SpanSet};
use ringfence_plan::{Want, part, refusals};

use crate::support::gpa;

#[test]
fn parts_lie_lowest_first_and_do_not_overlap() {
    let free: SpanSet<Gpa> = [gpa(0x1000, 0x4fff), gpa(0x10_0000, 0x1f_ffff)].into_iter().collect();
    let large = Alignment::new(0x8_0000).unwrap();
    let wants = [
        Want::anywhere("a", 0x2000),
        Want::anywhere("b", 0x8000),
        Want::anywhere("c", 0x1000).aligned(large),
        Want::anywhere("d", 0x1000).within(gpa(0x4000, 0x1f_ffff)),
        Want::anywhere("nothing", 0),
    ];
    let parts = part(&free, &wants).unwrap();
    let spans: Vec<_> = parts.iter().map(|part| part.spans.clone()).collect();
    assert_eq!(spans[0], [gpa(0x1000, 0x2fff)]);
    assert_eq!(spans[1], [gpa(0x10_0000, 0x10_7fff)]);
    assert_eq!(spans[2], [gpa(0x18_0000, 0x18_0fff)]);
    assert_eq!(spans[3], [gpa(0x4000, 0x4fff)]);
    assert!(spans[4].is_empty());
}

#[test]
fn windows_of_backends_lie_beside_one_another_and_off_what_is_taken() {
    let mut free = SpanSet::from(gpa(0x1_0000_0000, 0x1_3fff_ffff));
    free.remove(gpa(0x1_0800_0000, 0x1_0fff_ffff));
    let large = Alignment::PAGE_2M;
    let wants =
        ["disk", "network", "random"].map(|name| Want::anywhere(name, 0x600_0000).aligned(large));
    let parts = part(&free, &wants).unwrap();
    let firsts: Vec<_> = parts.iter().map(|part| part.spans[0].first().get()).collect();
    assert_eq!(firsts, [0x1_0000_0000, 0x1_1000_0000, 0x1_1600_0000]);
    assert!(parts[0].balloon(gpa(0, 0x1_ffff_ffff)).contains(Gpa::new(0x1_0600_0000)));
}

#[test]
fn what_does_not_fit_refuses_all_and_says_how_much_there_was() {
    let free = SpanSet::from(gpa(0, 0xffff));
    let refusal = part(&free, &[Want::anywhere("a", 0x8000), Want::anywhere("b", 0x9000)]);
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.code(), &refusals::NO_ROOM);
    assert!(refusal.detail().contains("b: 36864 bytes"), "{refusal}");
    assert!(refusal.detail().contains("32768 bytes"), "{refusal}");
}

#[test]
fn pieces_are_whole_granules_unless_there_are_too_few() {
    let free: SpanSet<Gpa> =
        [gpa(0x1000, 0x3f_ffff), gpa(0x60_0000, 0x7f_ffff)].into_iter().collect();
    let want = |bytes| [Want::anywhere("memory", bytes).splittable(Alignment::PAGE_2M)];
    let coarse = part(&free, &want(0x30_0000)).unwrap();
    assert_eq!(coarse[0].spans, [gpa(0x20_0000, 0x3f_ffff), gpa(0x60_0000, 0x6f_ffff)]);
    let fine = part(&free, &want(0x50_0000)).unwrap();
    assert_eq!(fine[0].spans, [gpa(0x1000, 0x3f_ffff), gpa(0x60_0000, 0x70_0fff)]);
}
