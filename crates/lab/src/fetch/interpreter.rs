//! Naming another loader in an ELF program.
//!
//! The kernel reads the loader's path from where the program header says it is in the file; a
//! longer path goes to the end of the file and the header is pointed there.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

const INTERPRETER: u32 = 3;

/// `program` with `loader` as its interpreter.
pub(crate) fn replace(mut program: Vec<u8>, loader: &Path) -> Result<Vec<u8>> {
    if program.get(..5) != Some(b"\x7fELF\x02") {
        bail!("not a 64-bit ELF program");
    }
    let table = usize::try_from(u64::from_le_bytes(field(&program, 32)?))?;
    let size = usize::from(u16::from_le_bytes(field(&program, 54)?));
    let count = usize::from(u16::from_le_bytes(field(&program, 56)?));
    for index in 0..count {
        let header = index
            .checked_mul(size)
            .and_then(|offset| table.checked_add(offset))
            .context("the program headers lie outside the file")?;
        if u32::from_le_bytes(field(&program, header)?) != INTERPRETER {
            continue;
        }
        let place = u64::try_from(program.len())?;
        let mut path = loader.as_os_str().as_bytes().to_vec();
        path.push(0);
        let length = u64::try_from(path.len())?;
        program[header + 8..header + 16].copy_from_slice(&place.to_le_bytes());
        program[header + 32..header + 40].copy_from_slice(&length.to_le_bytes());
        program.append(&mut path);
        return Ok(program);
    }
    bail!("the program names no interpreter: it is linked statically")
}

fn field<const N: usize>(program: &[u8], offset: usize) -> Result<[u8; N]> {
    let bytes = offset
        .checked_add(N)
        .and_then(|end| program.get(offset..end))
        .context("the program is cut short")?;
    Ok(bytes.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_a_program_is_replaced_and_nothing_else() {
        let this = std::fs::read("/proc/self/exe").expect("a test can read itself");
        let changed = replace(this.clone(), Path::new("/a/loader")).expect("an ELF program");
        assert!(changed.ends_with(b"/a/loader\0"));
        let differing = this.iter().zip(&changed).filter(|(before, after)| before != after).count();
        assert!((1..=16).contains(&differing), "{differing} bytes differ");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(replace(b"#!/bin/sh\n".to_vec(), Path::new("/l")).is_err());
        let mut cut = vec![0; 64];
        cut[..5].copy_from_slice(b"\x7fELF\x02");
        cut[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        cut[54..58].copy_from_slice(&[56, 0, 1, 0]);
        assert!(replace(cut, Path::new("/l")).is_err());
    }
}
