//! That what is measured is also right: data written through the fence is there.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::client::Client;

const LARGEST: usize = 128 << 10;
const SIZES: [usize; 6] = [512, 4 << 10, 20 << 10, 64 << 10, (128 << 10) - 512, LARGEST];
const ROUNDS: usize = 8;

/// Writes patterns of several sizes through `fenced`, reads them back through it, then reads them
/// through `direct` too, so that a fence which merely remembers is caught. Returns the bytes written.
pub(crate) fn through(fenced: &Path, direct: &Path) -> Result<usize> {
    let mut client = Client::connect(fenced, LARGEST).context("cannot connect to the fence")?;
    let mut expected = Vec::new();
    let mut offset = 0;
    for round in 0..ROUNDS {
        for size in SIZES {
            let data = pattern(size, offset);
            client.write(offset, &data).with_context(|| format!("write {size} at {offset}"))?;
            expected.push((offset, data));
            // A gap that is no multiple of the page size, so that alignments vary.
            offset += (size + 512 * (2 * round + 1)) as u64;
        }
    }
    compare(&mut client, &expected).context("through the fence")?;
    drop(client);
    let mut client = Client::connect(direct, LARGEST).context("cannot connect to the backend")?;
    compare(&mut client, &expected).context("beside the fence")?;
    Ok(expected.iter().map(|(_, data)| data.len()).sum())
}

fn compare(client: &mut Client, expected: &[(u64, Vec<u8>)]) -> Result<()> {
    for (offset, data) in expected {
        let found = client.read(*offset, data.len())?;
        let differs = found.iter().zip(data).position(|(found, expected)| found != expected);
        ensure!(
            differs.is_none(),
            "{} bytes read at offset {offset} differ from what was written, first at byte {}",
            data.len(),
            differs.unwrap_or_default()
        );
    }
    Ok(())
}

/// Bytes that depend on where they belong, so that misplaced data is noticed too.
fn pattern(length: usize, offset: u64) -> Vec<u8> {
    let mut state = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
