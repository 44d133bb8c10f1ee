//! QEMU's arguments: those of a process, and those added to other descriptions.

use ringfence_plan::Policy;
use ringfence_refusal::Refusal;

use super::amount::amount;
use super::draft::{Draft, short};
use super::options::Options;
use super::{Words, not_understood};

const MIB: u64 = 1 << 20;
/// What QEMU gives a VM of which nothing is said.
const MEMORY_DEFAULT: u64 = 128 * MIB;

/// `/proc/PID/cmdline`: arguments with a zero byte behind each.
pub(super) fn of_process(bytes: &[u8], named: &str) -> Result<Draft, Refusal> {
    let words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let program = words.first().map_or("", String::as_str);
    let file = program.rsplit('/').next().unwrap_or_default();
    // A QEMU run through its own loader has its name in another place.
    let is_qemu = |word: &str| word.contains("qemu") || word == "kvm";
    if !is_qemu(file) && !words.iter().take(8).any(|word| word.contains("qemu-system")) {
        let detail = format!("`{}` is not QEMU", short(program));
        return Err(not_understood(detail));
    }
    let mut draft = Draft::new(named, Words::Qemu);
    apply(words.iter().skip(1).map(String::as_str), &mut draft);
    draft.memory_bytes.get_or_insert(MEMORY_DEFAULT);
    draft.processor.get_or_insert_with(|| "qemu64".to_owned());
    Ok(draft)
}

/// Takes what matters of `words`.
pub(super) fn apply<'a>(words: impl Iterator<Item = &'a str>, draft: &mut Draft) {
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix('-') else { continue };
        let name = name.strip_prefix('-').unwrap_or(name);
        let known = [
            "m",
            "machine",
            "M",
            "device",
            "cpu",
            "name",
            "global",
            "append",
            "readconfig",
            "object",
        ];
        if !known.contains(&name) {
            continue;
        }
        let Some(value) = words.next() else { break };
        match name {
            "m" => memory(value, draft),
            "machine" | "M" => machine(value, draft),
            "device" => device(value, draft),
            "cpu" => processor(value, draft),
            "name" => {
                let options = Options::read(value, "guest");
                draft.name = options.get("guest").map_or(draft.name.clone(), short);
            }
            "global" => global(value, draft),
            "append" => {
                draft.keeps_off |= value.split_whitespace().any(|one| one.starts_with("memmap="))
            }
            "readconfig" => draft.remark("what -readconfig reads is not read here"),
            _ => {}
        }
    }
}

fn memory(value: &str, draft: &mut Draft) {
    let options = Options::read(value, "size");
    let of = |key: &str| options.get(key).and_then(|text| amount(text, MIB));
    match of("size") {
        Some(bytes) => draft.memory_bytes = Some(bytes),
        None if options.get("size").is_some() => {
            draft.remark(format!("`-m {}` is no amount of memory", short(value)));
        }
        None => {}
    }
    draft.most_bytes = of("maxmem").or(draft.most_bytes);
    draft.slots = options.get("slots").and_then(|slots| slots.parse().ok()).or(draft.slots);
}

fn machine(value: &str, draft: &mut Draft) {
    let options = Options::read(value, "type");
    if let Some(name) = options.get("type") {
        draft.machine = Some(name.to_owned());
    }
    if let Some(text) = options.get("max-ram-below-4g") {
        match amount(text, 1) {
            Some(bytes) => draft.low_bytes = Some(bytes),
            None => draft.remark(format!("`max-ram-below-4g={}` is no amount", short(text))),
        }
    }
}

fn device(value: &str, draft: &mut Draft) {
    let options = Options::read(value, "driver");
    match options.get("driver") {
        Some("vfio-pci" | "vfio-pci-nohotplug") => {}
        // How a plan tells a kernel what to keep off.
        Some("loader") => {
            draft.keeps_off = true;
            return;
        }
        _ => return,
    }
    let policy = match options.get("x-igd-gms") {
        Some("0") => Some(Policy::None),
        Some(_) => Some(Policy::Relocate),
        None => None,
    };
    let of_path = options.get("sysfsdev").and_then(|path| path.rsplit('/').next());
    match options.get("host").or(of_path) {
        Some(name) if name.contains('.') => draft.device(name, policy),
        Some(name) => draft.remark(format!("device `{}` is no function", short(name))),
        None => {
            draft.remark("a vfio-pci device that was opened by somebody else: which, is not said")
        }
    }
}

fn processor(value: &str, draft: &mut Draft) {
    let options = Options::read(value, "model");
    draft.processor = options.get("model").map(str::to_owned);
    for key in ["phys-bits", "host-phys-bits-limit"] {
        bits(options.get(key), draft);
    }
}

fn global(value: &str, draft: &mut Draft) {
    if let Some((name, limit)) = value.split_once('=')
        && (name.ends_with("-cpu.host-phys-bits-limit") || name.ends_with("-cpu.phys-bits"))
    {
        bits(Some(limit), draft);
    }
}

/// The fewest that anything says; 0 is no limit.
fn bits(text: Option<&str>, draft: &mut Draft) {
    let bits =
        text.and_then(|text| text.parse::<u8>().ok()).filter(|bits| (32..=52).contains(bits));
    draft.address_bits = match (bits, draft.address_bits) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}
