//! The `[vm]` table: the machine itself.

use std::ffi::OsString;
use std::path::Path;

use ringfence_vmm::qemu::Boot;

use super::VhostUser;
use super::pci::Function;
use super::placing::{self, Placing};
use super::reader::{Found, Table};
use crate::refusals;

/// Guest memory that QEMU will start with and that a 64-bit bus can address.
const MEMORY_BYTES: std::ops::RangeInclusive<u64> = 16 << 20..=16 << 40;
const MEMORY_STEP_BYTES: u64 = 1 << 20;

/// As many as a q35 machine takes without an interrupt remapper.
const CPUS: std::ops::RangeInclusive<i64> = 1..=255;

/// What a Linux guest needs to be told to talk on its serial console.
const DEFAULT_COMMAND_LINE: &str = "console=ttyS0";

/// The VMM where none is named.
const DEFAULT_VMM: &str = "qemu-system-x86_64";

/// Longest name of a VM or a device: three of them and a folder fit into a socket's path.
const NAME_CHARACTERS_MAX: usize = 24;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceleratorChoice {
    /// KVM where the processor really has it, else translation.
    Auto,
    /// Translation.
    Tcg,
    /// KVM, and an error from the VMM where it does not work.
    Kvm,
}

/// Where the guest's serial console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsoleChoice {
    /// Its lines go to standard output.
    Log,
    /// The VMM owns the terminal, keyboard and all.
    Stdio,
}

/// A VM as its configuration describes it: paths are absolute, everything is within limits.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) name: String,
    pub(crate) memory_bytes: u64,
    pub(crate) cpus: u32,
    pub(crate) boot: Boot,
    pub(crate) vmm: OsString,
    pub(crate) accelerator: AcceleratorChoice,
    pub(crate) console: ConsoleChoice,
    pub(crate) placing: Placing,
    pub(crate) devices: Vec<VhostUser>,
    pub(crate) functions: Vec<Function>,
}

pub(super) fn decode(table: &Table<'_>, folder: &Path) -> Option<Vm> {
    let name = table.required("name", "\"mine\"", name(table));
    let memory = table.size("memory", MEMORY_BYTES, MEMORY_STEP_BYTES);
    let memory = table.required("memory", "\"512M\"", memory);
    let cpus = table.number("cpus", CPUS).unwrap_or(1);
    let boot = boot(table, folder);
    let vmm = table.text("vmm").map_or(DEFAULT_VMM.into(), |text| program(text.value, folder));
    let placing = placing::decode(table, &vmm.to_string_lossy());
    let accelerator = table.choice(
        "accel",
        &[
            ("auto", AcceleratorChoice::Auto),
            ("tcg", AcceleratorChoice::Tcg),
            ("kvm", AcceleratorChoice::Kvm),
        ],
    );
    let console =
        table.choice("console", &[("log", ConsoleChoice::Log), ("stdio", ConsoleChoice::Stdio)]);
    table.finish();
    Some(Vm {
        name: name?.value.to_owned(),
        memory_bytes: memory?.value,
        cpus: u32::try_from(cpus).ok()?,
        boot,
        vmm,
        accelerator: accelerator.unwrap_or(AcceleratorChoice::Auto),
        console: console.unwrap_or(ConsoleChoice::Log),
        placing,
        devices: Vec::new(),
        functions: Vec::new(),
    })
}

fn boot(table: &Table<'_>, folder: &Path) -> Boot {
    let has_kernel = table.has("kernel");
    let kernel = table.file("kernel", folder);
    let initrd = table.file("initrd", folder);
    let command_line = table.text("cmdline");
    let firmware = table.file("firmware", folder);
    if let (Some(firmware), true) = (&firmware, has_kernel) {
        let detail = "`firmware` and `kernel`: a machine starts with one of them".to_owned();
        table.report(&firmware.span, &refusals::KEYS_EXCLUDE, detail);
    }
    if !has_kernel {
        let lonely = [
            ("initrd", initrd.as_ref().map(|found| &found.span)),
            ("cmdline", command_line.as_ref().map(|found| &found.span)),
        ];
        for (key, span) in lonely {
            if let Some(span) = span {
                let detail = format!("`{key}` is for a `kernel`, and there is none");
                table.report(span, &refusals::KEYS_EXCLUDE, detail);
            }
        }
    }
    match (kernel, firmware) {
        (Some(kernel), _) => Boot::Linux {
            kernel: kernel.value,
            initrd: initrd.map(|initrd| initrd.value),
            command_line: command_line.map_or(DEFAULT_COMMAND_LINE, |text| text.value).to_owned(),
        },
        (None, Some(firmware)) => Boot::Firmware(firmware.value),
        (None, None) => Boot::OwnFirmware,
    }
}

/// The name at `name`: it becomes part of paths, so it is plain.
pub(super) fn name<'t>(table: &Table<'t>) -> Option<Found<&'t str>> {
    let text = table.text("name")?;
    if !is_plain_name(text.value) {
        let detail = format!(
            "`name` is `{}`; it is 1 to {NAME_CHARACTERS_MAX} letters, digits, `-` and `_`, the \
             first a letter or digit",
            text.value
        );
        table.report(&text.span, &refusals::BAD_VALUE, detail);
        return None;
    }
    Some(text)
}

/// Whether `text` can be the name of a VM or a device.
pub(crate) fn is_plain_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        && text.len() <= NAME_CHARACTERS_MAX
}

/// A program as the configuration names it: with a slash it is a path relative to the file.
pub(super) fn program(text: &str, folder: &Path) -> OsString {
    let text = text.replace("{here}", &folder.to_string_lossy());
    if text.contains('/') { folder.join(text).into() } else { text.into() }
}
