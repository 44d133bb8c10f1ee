//! Random order that is the same in every run.

/// The numbers below `count`, in an order that is the same for the same seed.
pub(crate) fn shuffled(count: u64, seed: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..count).collect();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for at in (1..numbers.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (at as u64 + 1)).expect("below a usize");
        numbers.swap(at, other);
    }
    numbers
}
