//! Arbitrary bytes, taken a few at a time.

/// What is left of the bytes. Once they are used up there are only zeroes.
#[derive(Clone, Debug)]
pub(super) struct Input {
    bytes: Vec<u8>,
    at: usize,
}

impl Input {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0 }
    }

    pub(super) fn is_over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// One of the numbers below `count`.
    pub(super) fn below(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    /// True once in `count` times.
    pub(super) fn is_one_in(&mut self, count: u8) -> bool {
        // The last and not the first, so that a peer is honest when the bytes are used up.
        self.below(count) == count - 1
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// A number where mistakes are made: at the ends of types, pages and what is there.
    pub(super) fn edge(&mut self, near: u64) -> u64 {
        let step = u64::from(self.below(9)).wrapping_sub(4);
        let base = match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 63,
            3 => 1 << 32,
            4 => 1 << 16,
            5 => return self.u64(),
            _ => near,
        };
        base.wrapping_add(step)
    }
}
