//! Every way of saying no, from every crate.

use ringfence_refusal::Code;

/// All codes, in the order of their numbers.
pub(crate) fn all() -> Vec<&'static Code> {
    let catalogues = [
        ringfence_ledger::refusals::CATALOGUE,
        ringfence_virtio::refusals::CATALOGUE,
        ringfence_vmm::refusals::CATALOGUE,
        crate::refusals::CATALOGUE,
        crate::doctor::CATALOGUE,
        ringfence_jail::refusals::CATALOGUE,
        ringfence_device::refusals::CATALOGUE,
        ringfence_host::refusals::CATALOGUE,
        ringfence_plan::refusals::CATALOGUE,
        ringfence_iommu::refusals::CATALOGUE,
        ringfence_vfio_user::refusals::CATALOGUE,
    ];
    let mut codes: Vec<_> = catalogues.into_iter().flatten().copied().collect();
    codes.sort_by_key(|code| code.number);
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_a_sentence_a_remedy_and_a_page() {
        for code in all() {
            for (what, text) in
                [("sentence", code.sentence), ("remedy", code.remedy), ("page", code.page)]
            {
                assert!(text.ends_with('.'), "{code}: the {what} is no sentence: {text:?}");
                assert!(!text.contains("  "), "{code}: the {what} has a gap in it");
            }
            assert!(!code.name.is_empty() && !code.name.ends_with('.'), "{code}: {}", code.name);
        }
    }

    #[test]
    fn every_code_is_in_its_crates_range_and_used_once() {
        let ranges = [
            (ringfence_ledger::refusals::CATALOGUE, 100..200),
            (ringfence_virtio::refusals::CATALOGUE, 200..300),
            (ringfence_device::refusals::CATALOGUE, 700..800),
            (ringfence_vmm::refusals::CATALOGUE, 300..400),
            (crate::refusals::CATALOGUE, 400..440),
            (crate::doctor::CATALOGUE, 440..460),
            (ringfence_jail::refusals::CATALOGUE, 500..550),
            (ringfence_host::refusals::CATALOGUE, 600..700),
            (ringfence_tables::refusals::CATALOGUE, 850..900),
            (ringfence_plan::refusals::CATALOGUE, 800..850),
            (ringfence_iommu::refusals::CATALOGUE, 900..950),
            (ringfence_vfio_user::refusals::CATALOGUE, 1001..1050),
        ];
        for (catalogue, range) in ranges {
            assert!(catalogue.iter().all(|code| range.contains(&code.number)), "{range:?}");
        }
        assert!(all().windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}
