//! The functions in `/sys/bus/pci/devices`.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::fact::{Fact, Unknown};
use crate::function::Function;
use crate::read::config_space::{describe, set_unknown};
use crate::read::paths;

use super::{Directory, Keep, Miss, Tree, attributes, sleep};
use crate::read::Options;

/// Where the kernel lists them.
pub(super) const FUNCTIONS: &str = "sys/bus/pci/devices";

/// A function, and the name of the IOMMU that translates for it.
pub(super) fn read(
    tree: &impl Tree,
    address: PciAddress,
    options: Options,
    iommus: &mut BTreeMap<String, Vec<PciAddress>>,
) -> Function {
    let directory = tree.directory(&format!("{FUNCTIONS}/{address}"));
    let directory = &directory;
    let mut function = Function::new(address);
    function.path = match directory.link(".") {
        Ok(path) => {
            paths::above(&path, address).map_or(Fact::Unknown(Unknown::Garbled), Fact::Known)
        }
        Err(miss) => Fact::Unknown(unknown(miss)),
    };
    if !options.wake && sleep::would_wake(tree, directory, &function.path) {
        set_unknown(&mut function, Unknown::Asleep);
    } else {
        match directory.config() {
            Ok(mut registers) => describe(&mut function, &mut registers),
            Err(miss) => set_unknown(&mut function, unknown(miss)),
        }
    }
    attributes::fill(&mut function, directory);
    function.driver = linked(directory, "driver", |name| Some(name.to_owned()));
    function.physical_function = linked(directory, "physfn", |name| name.parse().ok());
    function.kernel_group = linked(directory, "iommu_group", |name| name.parse().ok());
    if let Ok(name) = directory.link("iommu") {
        match iommus.get_mut(&*name) {
            Some(functions) => functions.push(address),
            None => _ = iommus.insert(name.into_owned(), vec![address]),
        }
    }
    function.reset_methods = match directory.text("reset_method", Keep::Whole) {
        // Ten thousands of functions may be links to one with a long text.
        Ok(methods) if methods.len() > RESET_METHODS_LONGEST => Fact::Unknown(Unknown::Garbled),
        Ok(methods) => Fact::Known(methods.split(' ').map(str::to_owned).collect()),
        // The kernel hides the attribute of a function it knows no way to reset.
        Err(miss) => Fact::Unknown(unknown(miss)),
    };
    function.untrusted = match directory.text("removable", Keep::Whole).as_deref() {
        Ok("removable") => Fact::Known(true),
        Ok("fixed") => Fact::Known(false),
        _ => Fact::default(),
    };
    function
}

/// The names of all ways to reset a function that the kernel knows, with room for as many more.
const RESET_METHODS_LONGEST: usize = 128;

/// What a link names; a link that is not there names nothing.
fn linked<T>(
    directory: &impl Directory,
    name: &str,
    of: impl FnOnce(&str) -> Option<T>,
) -> Fact<Option<T>> {
    match directory.link(name) {
        Ok(target) => {
            of(&target).map_or(Fact::Unknown(Unknown::Garbled), |it| Fact::Known(Some(it)))
        }
        Err(Miss::Absent) => Fact::Known(None),
        Err(miss) => Fact::Unknown(unknown(miss)),
    }
}

/// The same as a reason.
pub(super) fn unknown(miss: Miss) -> Unknown {
    match miss {
        Miss::Denied => Unknown::NeedsRoot,
        Miss::Absent | Miss::Failed => Unknown::NotInSource,
    }
}
