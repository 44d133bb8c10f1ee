//! How others place guest memory, in our words: libxl's rule and OpenVMM's.

/// Half-open spans of bytes, lowest first.
pub(super) type Spans = Vec<(u64, u64)>;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HIGH: u64 = 4 * GIB;

/// What a placer made of a question.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Memory the guest uses.
    pub(super) blocks: Spans,
    /// Memory of the guest's that lies on a region without anybody being told.
    pub(super) silent: u64,
    /// Bytes above 4 GiB that its own map without regions would have below.
    pub(super) moved: u64,
}

fn overlaps(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

fn on(blocks: &Spans, regions: &Spans) -> u64 {
    let pairs = blocks.iter().flat_map(|block| regions.iter().map(move |region| (block, region)));
    pairs.map(|(a, b)| a.1.min(b.1).saturating_sub(a.0.max(b.0))).sum()
}

/// libxl (`libxl__domain_device_construct_rdm` of Xen 4.20) with its defaults: low memory ends at
/// 3.75 GiB, or at the first byte of every region above 2 GiB that it reaches, down to whole large
/// pages; what is cut off goes above 4 GiB. Then a region that meets memory after all refuses the
/// guest (`strict`), or is struck off the list of what the guest is told (`relaxed`).
pub(super) fn libxl(memory: u64, regions: &Spans, strict: bool) -> Option<Placed> {
    let own_end = memory.min(HIGH - 256 * MIB);
    let mut low_end = own_end;
    for region in regions {
        if overlaps((0, low_end), *region) && region.0 > 2 * GIB {
            low_end = region.0 / (2 * MIB) * (2 * MIB);
        }
    }
    let high_end = HIGH + (memory - low_end);
    let mut blocks = vec![(0, low_end)];
    blocks.extend((high_end > HIGH).then_some((HIGH, high_end)));
    let silent = on(&blocks, regions);
    (silent == 0 || !strict).then_some(Placed { blocks, silent, moved: own_end - low_end })
}

/// OpenVMM (`vm_topology::layout`): what is fixed first, which must not overlap; windows below 4 GiB
/// from the top down; then memory from 0 up, in as many pieces as it takes; windows above it. It
/// reads no host's regions: `regions` are those somebody would have to give it as fixed.
pub(super) fn openvmm(memory: u64, regions: &Spans) -> Option<Placed> {
    // Chipset and firmware; configuration space and a window of PCI's.
    let mut fixed = vec![(HIGH - 32 * MIB, HIGH)];
    fixed.extend(regions);
    fixed.sort_unstable();
    if fixed.windows(2).any(|pair| overlaps(pair[0], pair[1])) {
        return None;
    }
    let own = fill(memory, &window(&vec![(HIGH - 32 * MIB, HIGH)])?);
    let blocks = fill(memory, &window(&fixed)?);
    let moved = above(&blocks).saturating_sub(above(&own));
    Some(Placed { blocks, silent: 0, moved })
}

/// What is taken once a window of 512 MiB has its place, as high as it fits below 4 GiB.
fn window(fixed: &Spans) -> Option<Spans> {
    let size = 512 * MIB;
    let mut top = HIGH;
    for taken in fixed.iter().rev().filter(|taken| taken.0 < HIGH) {
        let first = top.checked_sub(size)? / MIB * MIB;
        if first >= taken.1 {
            break;
        }
        top = top.min(taken.0);
    }
    let first = top.checked_sub(size)? / MIB * MIB;
    let mut taken = fixed.clone();
    taken.push((first, first + size));
    taken.sort_unstable();
    Some(taken)
}

/// Memory from 0 up around what is taken, in large pages.
fn fill(memory: u64, taken: &Spans) -> Spans {
    let (mut left, mut at, mut blocks) = (memory, 0, Vec::new());
    for (first, end) in taken.iter().copied().chain([(u64::MAX, u64::MAX)]) {
        let room = (first / (2 * MIB) * (2 * MIB)).saturating_sub(at).min(left);
        blocks.extend((room > 0).then_some((at, at + room)));
        left -= room;
        at = at.max(end.div_ceil(2 * MIB).saturating_mul(2 * MIB));
    }
    blocks
}

/// How much of it lies above 4 GiB.
pub(super) fn above(blocks: &Spans) -> u64 {
    blocks.iter().map(|block| block.1.saturating_sub(block.0.max(HIGH))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOLEN: (u64, u64) = (0x9c00_0000, 0xa080_0000);

    #[test]
    fn libxl_cuts_low_memory_off_above_2_gib_and_refuses_below() {
        let placed = libxl(4 * GIB, &vec![STOLEN], true).unwrap();
        assert_eq!(placed.blocks, [(0, STOLEN.0), (HIGH, HIGH + 4 * GIB - STOLEN.0)]);
        assert_eq!(placed.moved, 0xf000_0000 - STOLEN.0);
        let below = vec![(0x7b80_0000, 0x8000_0000)];
        assert!(libxl(4 * GIB, &below, true).is_none());
        assert_eq!(libxl(4 * GIB, &below, false).unwrap().silent, 72 * MIB);
    }

    #[test]
    fn openvmm_parts_memory_around_what_it_is_given() {
        let placed = openvmm(4 * GIB, &vec![STOLEN]).unwrap();
        assert_eq!(placed.blocks[..2], [(0, STOLEN.0), (STOLEN.1, 0xde00_0000)]);
        assert_eq!(placed.moved, STOLEN.1 - STOLEN.0);
        assert!(openvmm(4 * GIB, &vec![STOLEN, (0x9c00_0000, 0x9c00_1000)]).is_none());
    }
}
