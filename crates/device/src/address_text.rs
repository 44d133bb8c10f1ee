//! PCI addresses in files of ours, as text.

use ringfence_addr::PciAddress;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

pub(crate) fn serialize<S: Serializer>(
    address: &PciAddress,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(address)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<PciAddress, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}
