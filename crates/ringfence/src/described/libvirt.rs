//! A libvirt domain (`virsh dumpxml`).

use ringfence_refusal::Refusal;
use roxmltree::{Document, Node, ParsingOptions};

use super::amount::amount_in;
use super::arguments;
use super::draft::{Draft, short};
use super::{Words, not_understood};

/// Elements and texts, at most; a real domain has some hundred.
const MOST_NODES: u32 = 1 << 16;

pub(super) fn draft(text: &str, named: &str) -> Result<Draft, Refusal> {
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: MOST_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| not_understood(format!("XML: {error}")))?;
    let domain = document.root_element();
    // What `virsh snapshot-dumpxml` or a saved state prints has one within.
    let domain = domain.descendants().find(|node| node.has_tag_name("domain"));
    let domain = domain.ok_or_else(|| not_understood("XML without a <domain>"))?;
    let mut draft = Draft::new(named, Words::Libvirt);
    if let Some(name) = child(domain, "name").and_then(|node| node.text()) {
        draft.name = short(name.trim());
    }
    let devices = child(domain, "devices");
    memory(domain, devices, &mut draft);
    let os = child(domain, "os").and_then(|os| child(os, "type"));
    draft.machine = os.and_then(|os| os.attribute("machine")).map(str::to_owned);
    processor(domain, &mut draft);
    for device in devices.into_iter().flat_map(|devices| devices.children()) {
        function(device, &mut draft);
    }
    let added = domain.children().filter(|node| node.tag_name().name() == "commandline");
    let words = added.flat_map(|node| node.children()).filter_map(|node| node.attribute("value"));
    arguments::apply(words, &mut draft);
    Ok(draft)
}

fn child<'a, 'text>(node: Node<'a, 'text>, name: &str) -> Option<Node<'a, 'text>> {
    node.children().find(|one| one.tag_name().name() == name)
}

fn bytes(node: Node<'_, '_>) -> Option<u64> {
    amount_in(node.text()?, node.attribute("unit"))
}

/// `<memory>` counts what is plugged already; only the rest is there at the beginning.
fn memory(domain: Node<'_, '_>, devices: Option<Node<'_, '_>>, draft: &mut Draft) {
    let modules = devices.into_iter().flat_map(|devices| devices.children());
    let modules = modules.filter(|node| node.has_tag_name("memory"));
    let sizes = modules.filter_map(|module| bytes(child(child(module, "target")?, "size")?));
    let plugged = sizes.fold(0, u64::saturating_add);
    let all = child(domain, "memory").and_then(bytes);
    draft.memory_bytes = all.map(|all| all.saturating_sub(plugged));
    if let Some(most) = child(domain, "maxMemory") {
        draft.most_bytes = bytes(most);
        draft.slots = most.attribute("slots").and_then(|slots| slots.parse().ok());
    } else if plugged > 0 {
        draft.most_bytes = all;
    }
}

fn processor(domain: Node<'_, '_>, draft: &mut Draft) {
    let Some(cpu) = child(domain, "cpu") else { return };
    let model = child(cpu, "model").and_then(|model| model.text());
    draft.processor = model.or(cpu.attribute("mode")).map(|name| name.trim().to_owned());
    let bits = child(cpu, "maxphysaddr");
    let bits = bits.and_then(|node| node.attribute("limit").or(node.attribute("bits")));
    draft.address_bits =
        bits.and_then(|bits| bits.parse().ok()).filter(|bits| (32..=52).contains(bits));
}

/// `<hostdev type='pci'>` and `<interface type='hostdev'>`.
fn function(device: Node<'_, '_>, draft: &mut Draft) {
    let (name, kind) = (device.tag_name().name(), device.attribute("type"));
    match (name, kind) {
        ("hostdev", Some("pci")) | ("interface", Some("hostdev")) => {}
        ("interface", Some("network")) => {
            let network = child(device, "source").and_then(|source| source.attribute("network"));
            let network = short(network.unwrap_or_default());
            return draft
                .remark(format!("network `{network}` may lend it a function: which, is not said"));
        }
        _ => return,
    }
    let address = child(device, "source").and_then(|source| child(source, "address"));
    let part = |name: &str| {
        let text = address?.attribute(name)?;
        let digits = text.strip_prefix("0x").unwrap_or(text);
        u32::from_str_radix(digits, 16).ok()
    };
    match (part("bus"), part("slot"), part("function")) {
        (Some(bus), Some(slot), Some(function)) => {
            let domain = part("domain").unwrap_or(0);
            draft.device(&format!("{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"), None);
        }
        _ => draft.remark("a device of the host's without an address"),
    }
}
