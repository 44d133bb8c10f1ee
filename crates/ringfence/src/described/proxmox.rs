//! A VM's configuration of Proxmox VE's (`/etc/pve/qemu-server/VMID.conf`).

use ringfence_plan::Policy;
use ringfence_refusal::Refusal;

use super::Words;
use super::amount::amount;
use super::arguments;
use super::draft::{Draft, short};
use super::options::Options;

const MIB: u64 = 1 << 20;
/// What a VM has of which nothing is said.
const MEMORY_DEFAULT: u64 = 512 * MIB;

/// Whether `text` looks like one: its first line that counts is a key, a colon and a value.
pub(super) fn is_one(text: &str) -> bool {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let key = line.and_then(|line| line.split_once(':')).map(|(key, _)| key);
    key.is_some_and(|key| {
        key.starts_with(|one: char| one.is_ascii_lowercase())
            && key.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_')
    })
}

pub(super) fn draft(text: &str, named: &str) -> Result<Draft, Refusal> {
    let mut draft = Draft::new(named, Words::Proxmox);
    draft.processor = Some("kvm64".to_owned());
    draft.memory_bytes = Some(MEMORY_DEFAULT);
    for line in text.lines().map(str::trim) {
        // Snapshots and pending changes follow, each with keys of its own.
        if line.starts_with('[') {
            break;
        }
        let Some((key, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        match key {
            "name" => draft.name = short(value),
            "memory" => memory(value, &mut draft),
            "machine" => {
                let options = Options::read(value, "type");
                draft.machine = options.get("type").map(str::to_owned);
            }
            "cpu" => processor(value, &mut draft),
            "hotplug" if value.split(',').any(|one| one == "memory") || value == "1" => {
                draft.remark("memory may be plugged: where, is not looked at");
            }
            "args" => {
                let words = words(value);
                arguments::apply(words.iter().map(String::as_str), &mut draft);
            }
            _ if key.starts_with("hostpci") => host_function(key, value, &mut draft),
            _ => {}
        }
    }
    Ok(draft)
}

fn memory(value: &str, draft: &mut Draft) {
    let options = Options::read(value, "current");
    match options.get("current").and_then(|text| amount(text, MIB)) {
        Some(bytes) => draft.memory_bytes = Some(bytes),
        None => draft.remark(format!("`memory: {}` is no amount of memory", short(value))),
    }
}

fn processor(value: &str, draft: &mut Draft) {
    let options = Options::read(value, "cputype");
    draft.processor = options.get("cputype").map(str::to_owned).or(draft.processor.take());
    let bits = options.get("phys-bits").and_then(|bits| bits.parse::<u8>().ok());
    draft.address_bits = bits.filter(|bits| (32..=52).contains(bits)).or(draft.address_bits);
}

/// `hostpci0: 0000:01:00,pcie=1`: without a function it is all of the slot; several stand with `;`.
fn host_function(key: &str, value: &str, draft: &mut Draft) {
    let options = Options::read(value, "host");
    match options.get("host") {
        Some(names) => {
            // Of `legacy-igd` Proxmox sets the function up as QEMU's old mode does.
            let legacy = options.get("legacy-igd").is_some_and(|on| on == "1");
            let policy = legacy.then_some(Policy::Relocate);
            for name in names.split(';') {
                draft.device(name, policy);
            }
        }
        None => {
            let mapping = short(options.get("mapping").unwrap_or_default());
            draft.remark(format!(
                "`{key}` is mapping `{mapping}`: which function, the cluster says"
            ));
        }
    }
}

/// As a shell splits words, without substitution: Proxmox does the same (`split_args`).
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(letters.next()),
            (one, Some(open)) if one == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (one, None) if one.is_whitespace() => words.extend(word.take()),
            (one, _) => word.get_or_insert_default().push(one),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(words(r#"-a 'b c' "d\"e" f\ g "" "#), ["-a", "b c", "d\"e", "f g", ""]);
        assert_eq!(words("'unclosed x"), ["unclosed x"]);
    }
}
