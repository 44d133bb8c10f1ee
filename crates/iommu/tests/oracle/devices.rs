//! DMA by two devices: `iommu-testdev` writes, `edu` reads.
//!
//! QEMU: `docs/specs/iommu-testdev.rst`, `docs/specs/edu.rst`.

use ringfence_addr::{Address, Gpa, Hpa, Iova};
use ringfence_lab::Batch;

use crate::machine::{READER, WRITER, memory};

/// What the first device writes, and what it answers when it could.
const WRITTEN: u64 = 0x1234_5678;
const REACHED: u64 = 0;
const NOT_REACHED: u64 = 0xdead_0002;

/// What the second device is let find.
const MARK: u64 = 0x00c0_ffee_0bad_cafe;
const READER_BUFFER: u64 = 0x4_0000;

fn register(device: (u8, u32), offset: u64) -> Gpa {
    Gpa::new(u64::from(device.1) + offset)
}

/// What a device can do at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The memory that was meant.
    There,
    /// Nothing.
    Nothing,
    /// Something else, or it is not clear.
    Elsewhere,
}

/// Has the device write four bytes at `iova`, which should arrive in `frame`, if anywhere. Answers
/// with two values.
pub(crate) fn write(batch: &mut Batch, iova: Iova, frame: Hpa) {
    let word = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap();
    batch.write_u32(memory(frame), 0);
    batch.write_u32(register(WRITER, 0x04), word(iova.get()));
    batch.write_u32(register(WRITER, 0x08), word(iova.get() >> 32));
    batch.write_u32(register(WRITER, 0x0c), 4);
    batch.write_u32(register(WRITER, 0x1c), word(frame.get()));
    batch.write_u32(register(WRITER, 0x20), word(frame.get() >> 32));
    batch.write_u32(register(WRITER, 0x14), 1);
    // Reading the first register is what starts it.
    batch.read_u32(register(WRITER, 0x00));
    batch.read_u32(register(WRITER, 0x10));
    batch.read_u32(memory(frame));
}

/// What came of [`write`].
pub(crate) fn written(answers: &[u64]) -> Reached {
    match answers {
        [_, REACHED, WRITTEN] => Reached::There,
        [_, NOT_REACHED, 0] => Reached::Nothing,
        _ => Reached::Elsewhere,
    }
}

/// How many values [`write`] and [`read`] answer with.
pub(crate) const WRITE_ANSWERS: usize = 3;
pub(crate) const READ_ANSWERS: usize = 1;

/// Has the device read eight bytes at `iova`, which should be those in `frame`, and write what it has
/// then at `outbox`, which leads to `seen`.
pub(crate) fn read(batch: &mut Batch, iova: Iova, frame: Hpa, outbox: Iova, seen: Hpa) {
    batch.write_u64(memory(frame), MARK);
    batch.write_u64(memory(seen), 0);
    for (source, target, direction) in
        [(iova.get(), READER_BUFFER, 0), (READER_BUFFER, outbox.get(), 2)]
    {
        batch.write_u64(register(READER, 0x80), source);
        batch.write_u64(register(READER, 0x88), target);
        batch.write_u64(register(READER, 0x90), 8);
        batch.write_u64(register(READER, 0x98), direction | 1);
        batch.pass_milliseconds(100);
    }
    batch.read_u64(memory(seen));
    // What is in its buffer is not there the next time.
    batch.write_u64(memory(seen), 0);
    batch.write_u64(register(READER, 0x80), outbox.get());
    batch.write_u64(register(READER, 0x88), READER_BUFFER);
    batch.write_u64(register(READER, 0x98), 1);
    batch.pass_milliseconds(100);
}

/// What came of [`read`].
pub(crate) fn was_read(answers: &[u64]) -> Reached {
    match answers {
        [MARK] => Reached::There,
        // What a read that is turned down finds is QEMU's business, and not what is there.
        [_] => Reached::Nothing,
        _ => Reached::Elsewhere,
    }
}

/// The same place in a page and its frame.
pub(crate) fn place(page: Iova, frame: Hpa, offset: u64) -> (Iova, Hpa) {
    (page.checked_add(offset).unwrap(), frame.checked_add(offset).unwrap())
}
