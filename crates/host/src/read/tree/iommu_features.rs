//! The register of an IOMMU that says what it can, as the kernel shows it.

use crate::fact::{Fact, Unknown};

use super::functions::unknown;
use super::{Directory, Keep, Tree};

/// `intel-iommu/cap` of VT-d, `amd-iommu/features` of AMD-Vi; no other has one.
pub(super) fn read(tree: &impl Tree, name: &str) -> Fact<u64> {
    let (folder, file) = match name {
        _ if name.starts_with("dmar") => ("intel-iommu", "cap"),
        _ if name.starts_with("ivhd") => ("amd-iommu", "features"),
        _ => return Fact::default(),
    };
    let own = tree.directory(&format!("sys/class/iommu/{name}/{folder}"));
    match own.text(file, Keep::Whole) {
        Ok(text) => register(&text).map_or(Fact::Unknown(Unknown::Garbled), Fact::Known),
        Err(miss) => Fact::Unknown(unknown(miss)),
    }
}

/// One hexadecimal number, or of two the extended feature register: Linux 5.10 put the second
/// register first, 6.7 last. The first says in bits 36:32 how many contexts a device may have
/// (PASmax), the second has nothing above bit 31.
fn register(text: &str) -> Option<u64> {
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let Some((one, other)) = text.split_once(':') else { return number(text) };
    match (number(one)?, number(other)?) {
        (one, other) if one >> 32 == 0 && other >> 32 == 0 => None,
        (one, other) if other >> 32 == 0 => Some(one),
        (one, other) if one >> 32 == 0 => Some(other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_is_found_in_either_order() {
        assert_eq!(register("d2008c40660462"), Some(0xd2_008c_4066_0462));
        for text in ["58f77ef22294ade:0", "0:58f77ef22294ade", "10:58f77ef22294ade"] {
            assert_eq!(register(text), Some(0x58f_77ef_2229_4ade), "{text}");
        }
        for text in ["", "0x1", "1:2", "58f77ef22294ade:58f77ef22294ade", "1:", "zz"] {
            assert_eq!(register(text), None, "{text}");
        }
    }
}
