//! Whether the kernel isolates anything at all, and why not.

use ringfence_host::{Fact, Host};

/// Firmware tables that describe an IOMMU.
const TABLES: &[&str] = &["DMAR", "IVRS", "IORT", "VIOT"];

/// Kernel arguments that keep the kernel from using an IOMMU.
const OFF: &[&str] = &[
    "iommu=off",
    "intel_iommu=off",
    "amd_iommu=off",
    "iommu=pt,off",
    "noiommu",
    "iommu.passthrough=force",
];

/// What to say when the kernel uses no IOMMU: that it is so, why, and what could be done. Nothing
/// where it uses one, or where the source does not say.
pub(crate) fn situation(host: &Host) -> Option<Vec<String>> {
    if !host.iommus.known()?.is_empty() {
        return None;
    }
    let mut lines = vec!["the kernel uses no IOMMU: it isolates nothing".to_owned()];
    let argument = host.kernel.command_line.known().and_then(|line| {
        line.split_whitespace().find(|word| OFF.contains(word)).map(str::to_owned)
    });
    let table = match &host.tables {
        Fact::Known(tables) => Fact::Known(
            TABLES.iter().find(|table| tables.iter().any(|found| found == *table)).copied(),
        ),
        Fact::Unknown(why) => Fact::Unknown(*why),
    };
    if let Some(argument) = argument {
        lines.push(format!("why: its command line has `{argument}`; boot without it"));
    } else {
        lines.push(match (table, host.is_virtual_machine) {
            (Fact::Known(Some("DMAR")), _) => "why: firmware describes one (DMAR) and the kernel \
                does not use it; boot with `intel_iommu=on`"
                .to_owned(),
            (Fact::Known(Some(table)), _) => format!(
                "why: firmware describes one ({table}) and the kernel does not use it; see what \
                 `dmesg` says of its driver"
            ),
            (Fact::Known(None), Fact::Known(true)) => "why: this is a virtual machine that was \
                given none; its hypervisor can give it one"
                .to_owned(),
            (Fact::Known(None), _) => "why: firmware describes none (no DMAR, IVRS, IORT or VIOT \
                table); turn on VT-d, AMD-Vi or IOMMU in its setup, if the machine has one"
                .to_owned(),
            (Fact::Unknown(_), Fact::Known(true)) => "why: probably because this is a virtual \
                machine; firmware's tables could not be read"
                .to_owned(),
            (Fact::Unknown(why), _) => format!("why: not known, firmware's tables are {why}"),
        });
    }
    lines.push(
        "the groups shown are those the registers would give if it used one; until then any \
         device reaches any memory"
            .to_owned(),
    );
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(tables: &[&str], command_line: &str, is_virtual_machine: bool) -> Host {
        let mut host = Host { iommus: Fact::Known(Vec::new()), ..Host::default() };
        host.tables = Fact::Known(tables.iter().map(|table| (*table).to_owned()).collect());
        host.kernel.command_line = Fact::Known(command_line.to_owned());
        host.is_virtual_machine = Fact::Known(is_virtual_machine);
        host
    }

    #[test]
    fn why_there_is_no_iommu_is_told_apart() {
        for (host, why) in [
            (host(&["DMAR"], "quiet", false), "boot with `intel_iommu=on`"),
            (host(&["DMAR"], "quiet intel_iommu=off", false), "has `intel_iommu=off`"),
            (host(&["FACP", "IVRS"], "", false), "(IVRS)"),
            (host(&["FACP"], "", true), "virtual machine that was given none"),
            (host(&["FACP"], "", false), "firmware describes none"),
        ] {
            let lines = situation(&host).expect("there is none");
            assert!(lines[1].contains(why), "{lines:?} does not say {why}");
        }
        assert_eq!(situation(&Host::default()), None, "not known to have none");
    }
}
