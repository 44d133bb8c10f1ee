//! `scrub`: clear the memory that firmware took for integrated graphics.

use std::path::Path;

use anyhow::{Context, anyhow};
use ringfence_addr::PciAddress;
use serde::Serialize;

use crate::claims::Claims;
use crate::exit::Exit;
use crate::scrubbing::{Copy, Extent, Told};
use crate::{cli, talk};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    functions: Vec<Told>,
}

pub(crate) fn run(arguments: &cli::Scrub) -> anyhow::Result<Exit> {
    let claims = Claims::of(&arguments.at.root())?;
    let extent = match (arguments.dry_run, &arguments.copy_to) {
        (true, _) => Extent::Look,
        (_, None) => Extent::Clear,
        (_, Some(_)) => Extent::Copy,
    };
    let mut answer = Answer { schema: "ringfence.scrub/1", functions: Vec::new() };
    for function in &arguments.functions {
        let mut told = clear(&claims, *function, extent)?;
        if let Some(folder) = &arguments.copy_to {
            for copy in &mut told.copied {
                write(copy, *function, folder)?;
            }
        }
        if !arguments.json {
            show(&told, extent)?;
        }
        answer.functions.push(told);
    }
    if arguments.json {
        talk::json(&answer)?;
    }
    Ok(Exit::Ok)
}

/// Clears the memory of one function, saying what is done.
pub(crate) fn clear(claims: &Claims, function: PciAddress, extent: Extent) -> anyhow::Result<Told> {
    let mut observer = |step: &ringfence_device::scrub::Step| {
        talk::say(format_args!("{function}: {step}"));
    };
    if extent != Extent::Look {
        talk::say(format_args!("scrubbing {function}"));
    }
    claims.scrub(function, extent, &mut observer)
}

/// Moves what was copied to a file.
fn write(copy: &mut Copy, function: PciAddress, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("{function}-{}.bin", copy.ends.first));
    let text = copy.bytes.take().unwrap_or_default();
    let digits = text.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    let bytes = bytes.ok_or_else(|| anyhow!("what was copied of {function} is no hexadecimal"))?;
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    copy.file = Some(path.display().to_string());
    Ok(())
}

fn show(told: &Told, extent: Extent) -> anyhow::Result<()> {
    let Told { address, design, memory, .. } = told;
    let mut text = format!("{address}: {design}, memory {memory}\n");
    if let Some(firmware) = &told.firmware {
        text.push_str(&format!("  left alone  {firmware}  firmware's own (WOPCM)\n"));
    }
    for kept in &told.kept {
        text.push_str(&format!("  left alone  {}  {}\n", kept.ends, kept.why));
    }
    if extent == Extent::Look {
        for (number, step) in (1..).zip(&told.steps) {
            text.push_str(&format!("  {number:>3}. {step}\n"));
        }
    }
    for cleared in &told.cleared {
        text.push_str(&format!("  cleared     {cleared}\n"));
    }
    for copy in &told.copied {
        let file = copy.file.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "  copied      {}  {file}; for QEMU: -device loader,file={file},addr={},force-raw=on\n",
            copy.ends, copy.ends.first
        ));
    }
    talk::data(&text)
}
