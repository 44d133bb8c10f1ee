//! The `[[device]]` tables: first what kind each is, then the keys of that kind.

use std::ops::Range;
use std::path::Path;

use ringfence_addr::PciAddress;
use ringfence_virtio::{WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};
use ringfence_vmm::device::{DeviceKind, KINDS, Property, check_property_name};
use toml::de::DeValue;

use super::backend::{self, Backend};
use super::environment;
use super::jail::{self, JailChoice};
use super::pci::{self, Function};
use super::problem::Page;
use super::reader::{Table, did_you_mean, kind_of};
use super::restart;
use super::vm::name;
use crate::refusals;

/// What a fence takes as its window.
const WINDOW_BYTES: std::ops::RangeInclusive<u64> = WINDOW_BYTES_MIN..=WINDOW_BYTES_MAX;
const WINDOW_STEP_BYTES: u64 = 4096;

/// What a window is where nobody says.
pub(crate) const DEFAULT_WINDOW_BYTES: u64 = WINDOW_BYTES_DEFAULT;

/// What one queue of a device may be held to; above that there is no device to hold.
const REQUESTS_PER_SECOND: std::ops::RangeInclusive<i64> = 1..=1_000_000_000;
const BYTES_PER_SECOND: std::ops::RangeInclusive<u64> = 1..=1 << 40;

/// As many queues as QEMU gives any device.
const QUEUES: std::ops::RangeInclusive<i64> = 1..=1024;

/// Kinds that DESIGN promises and this version cannot yet do.
const NOT_YET: [&str; 1] = ["gpu"];

/// A device of the VM, by its kind.
#[derive(Debug)]
pub(super) enum Device {
    VhostUser(Box<VhostUser>),
    Pci(Function),
}

/// A vhost-user device behind a fence.
#[derive(Debug)]
pub(crate) struct VhostUser {
    pub(crate) name: String,
    pub(crate) kind: &'static DeviceKind,
    pub(crate) window_bytes: u64,
    pub(crate) requests_per_second: Option<i64>,
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) sealed_memory: bool,
    pub(crate) backend: Backend,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) jail: JailChoice,
    /// How many times in a row a backend that completes nothing is started again.
    pub(crate) restarts_max: u32,
    pub(crate) queues: Option<u16>,
    /// Where the guest finds it.
    pub(crate) guest: Option<PciAddress>,
    pub(crate) properties: Vec<(String, Property)>,
}

/// Decodes one `[[device]]`, with where it stands.
pub(super) fn decode(table: &Table<'_>, folder: &Path) -> Option<(Range<usize>, Device)> {
    let kind = table.required("kind", "\"vhost-user\"", table.text("kind"))?;
    match kind.value {
        "vhost-user" => {
            let device = vhost_user(table, folder)?;
            Some((table.span(), Device::VhostUser(Box::new(device))))
        }
        "pci" => Some((table.span(), Device::Pci(pci::decode(table)?))),
        other if NOT_YET.contains(&other) => {
            let detail = format!("`{other}`; this version knows `vhost-user` and `pci`");
            table.report(&kind.span, &refusals::KIND_NOT_YET, detail);
            None
        }
        other => {
            let meant = did_you_mean(other, &["vhost-user", "gpu", "pci"]);
            let detail = format!(
                "`{other}`; the kinds are vhost-user and pci (and gpu, not there yet){meant}"
            );
            table.report(&kind.span, &refusals::UNKNOWN_KIND, detail);
            None
        }
    }
}

fn vhost_user(table: &Table<'_>, folder: &Path) -> Option<VhostUser> {
    let name = table.required("name", "\"disk\"", name(table));
    let choices: Vec<_> = KINDS.iter().map(|kind| (kind.name, kind)).collect();
    let kind = table.choice("device", &choices);
    if kind.is_none() && !table.has("device") {
        let words: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        let detail = format!(
            "[[device]] needs `device`, as in `device = \"blk\"`; it is one of {}",
            words.join(", ")
        );
        table.report(&table.span(), &refusals::MISSING_KEY, detail);
    }
    let window = table.size("window", WINDOW_BYTES, WINDOW_STEP_BYTES);
    let requests_per_second = table.number("requests_per_second", REQUESTS_PER_SECOND);
    let bytes_per_second = table.size("bytes_per_second", BYTES_PER_SECOND, 1);
    let sealed_memory = table.switch("require_sealed_memory");
    let backend = backend::decode(table, folder);
    let environment = environment::decode(table);
    let jail = jail::decode(table, folder);
    let restarts_max = restart::decode(table);
    let queues = table.number("queues", QUEUES).and_then(|queues| u16::try_from(queues).ok());
    let mut properties = properties(table, kind);
    let guest = guest_address(table, &mut properties);
    if let Some(kind) = kind {
        if queues.is_some() && kind.queues_property.is_none() {
            let detail = format!("`queues`: a `{}` device has a fixed number of them", kind.name);
            table.report(&table.span(), &refusals::KEYS_EXCLUDE, detail);
        }
        let missing = kind
            .required_property
            .filter(|needed| !properties.iter().any(|(property, _)| property == needed));
        if let Some(needed) = missing {
            let detail = format!(
                "a `{}` device needs the property `{needed}`, as in `properties = {{ {needed} = \"mine\" }}`",
                kind.name
            );
            table.report(&table.span(), &refusals::MISSING_KEY, detail);
        }
    }
    table.finish();
    Some(VhostUser {
        name: name?.value.to_owned(),
        kind: kind?,
        window_bytes: window.map_or(DEFAULT_WINDOW_BYTES, |window| window.value),
        requests_per_second,
        bytes_per_second: bytes_per_second.map(|bytes| bytes.value),
        sealed_memory: sealed_memory.unwrap_or(false),
        backend: backend?,
        environment,
        jail,
        restarts_max,
        queues,
        guest,
        properties,
    })
}

/// Where the guest finds the device: on the root bus, where QEMU puts it by a property.
fn guest_address(
    table: &Table<'_>,
    properties: &mut Vec<(String, Property)>,
) -> Option<PciAddress> {
    let guest = pci::guest_address(table)?;
    let report = |code, detail: String| table.report(&table.span(), code, detail);
    if guest.bus() != 0 {
        let detail = format!("`guest_address`: {guest}; a vhost-user device is put on bus 00");
        report(&refusals::BAD_VALUE, detail);
        return None;
    }
    if properties.iter().any(|(name, _)| name == "addr") {
        let detail = "`guest_address` and the property `addr` say the same".to_owned();
        report(&refusals::KEYS_EXCLUDE, detail);
        return None;
    }
    let address = format!("{:02x}.{}", guest.device(), guest.function());
    properties.push(("addr".to_owned(), Property::Text(address)));
    Some(guest)
}

fn properties(table: &Table<'_>, kind: Option<&'static DeviceKind>) -> Vec<(String, Property)> {
    let mut properties = Vec::new();
    let Some(entries) = table.table("properties") else { return properties };
    for (key, value) in entries.value.iter() {
        let allowed = kind.map_or(Ok(()), |kind| check_property_name(kind, key.get_ref()));
        if let Err(refusal) = allowed {
            table.report(&key.span(), refusal.code(), refusal.detail().to_owned());
            continue;
        }
        let property = match value.get_ref() {
            DeValue::Boolean(on) => Some(Property::Switch(*on)),
            DeValue::String(text) => Some(Property::Text(text.to_string())),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(Property::Number)
            }
            _ => None,
        };
        match property {
            Some(property) => properties.push((key.get_ref().to_string(), property)),
            None => {
                let detail = format!(
                    "the property `{}` is a text, a whole number, true or false, not {}",
                    key.get_ref(),
                    kind_of(value.get_ref())
                );
                table.report(&value.span(), &refusals::WRONG_TYPE, detail);
            }
        }
    }
    properties
}

/// Reports devices that have the name of another.
pub(super) fn check_names(page: &Page<'_>, devices: &[(Range<usize>, VhostUser)]) {
    for (index, (span, device)) in devices.iter().enumerate() {
        if devices[..index].iter().any(|(_, earlier)| earlier.name == device.name) {
            let detail = format!("`{}` is the name of an earlier device", device.name);
            page.report(span.clone(), &refusals::NAME_TAKEN, detail);
        }
    }
}
