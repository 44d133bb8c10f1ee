//! What Linux made of machines in QEMU, from their registers alone.

use ringfence_host::{Model, Rule, read};

use crate::data::{difference, kernel_sets, sets, topologies};

/// Captures without functions in full: one prints what VFIO answers, one what drifts.
const WITHOUT_FUNCTIONS: [&str; 2] = ["x1-viab", "x2-drift"];

pub(crate) fn linux_as_captured() {
    let folder = topologies().expect("the captures are there");
    let mut compared = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder.join("oracle")).expect("the folder can be listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("a capture");
        if WITHOUT_FUNCTIONS.contains(&name.as_str()) {
            assert!(read::capture(&bytes).is_err(), "{name} has functions after all");
            continue;
        }
        let host = read::capture(&bytes).expect("a host");
        let is_72 = host.kernel.release.known().is_some_and(|release| release.starts_with('7'));
        let model = if is_72 { Model::Linux73 } else { Model::Linux612 };
        let partition = model.partition(&host);
        let (ours, theirs) = (sets(&partition), kernel_sets(&host));
        compared += 1;
        if ours != theirs {
            wrong.push(format!("{name}: {}", difference(&ours, &theirs)));
        }
        let observed = Model::Observed.partition(&host);
        assert_eq!(sets(&observed), theirs, "{name}");
        for function in host.functions.values() {
            let is_grouped = observed.group_of(function.address).is_some();
            let why = observed.without.get(&function.address);
            assert_eq!(is_grouped, why.is_none(), "{name} {}", function.address);
            if let Some(why) = why {
                assert!(
                    matches!(why.rule, Rule::NoIommu | Rule::NotProbed),
                    "{name}: {}",
                    why.sentence
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 11, "only {compared} captures");
}
