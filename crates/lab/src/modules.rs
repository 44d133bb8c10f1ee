//! Kernel modules with what they depend on, in the order they must be loaded.
//!
//! Debian's packages hold no `modules.dep` (it is made on installation), so dependencies are read
//! from the modules themselves: each says `depends=` and `softdep=pre:` in its `.modinfo`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::fetch::output_of;
use crate::root::{Kernel, LabRoot};
use crate::scratch::Scratch;

/// A module, unpacked.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its name, with `_`.
    pub(crate) name: String,
    /// The object the kernel loads.
    pub(crate) object: Vec<u8>,
}

/// `names` and all they depend on, dependencies first. What the kernel has built in is left out.
pub(crate) fn with_dependencies(kernel: &Kernel, names: &[String]) -> Result<Vec<Module>> {
    let mut search = Search {
        files: files_by_name(&kernel.modules)?,
        built_in: built_in(&kernel.modules)?,
        seen: BTreeSet::new(),
        ordered: Vec::new(),
    };
    for name in names {
        search.add(&normal(name)).with_context(|| {
            format!("cannot give kernel {} the module `{name}`", kernel.release)
        })?;
    }
    Ok(search.ordered)
}

/// `names` and all they depend on as files beside each other, with the indexes by which they are found
/// for a device.
pub(crate) fn indexed(
    lab: &LabRoot,
    kernel: &Kernel,
    names: &[String],
) -> Result<Vec<(String, Vec<u8>)>> {
    let scratch = Scratch::new()?;
    let folder = scratch.join("lib/modules").join(&kernel.release);
    fs::create_dir_all(&folder)?;
    for module in with_dependencies(kernel, names)? {
        fs::write(folder.join(format!("{}.ko", module.name)), module.object)?;
    }
    for list in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        fs::copy(kernel.modules.join(list), folder.join(list))
            .with_context(|| format!("cannot copy {list} of kernel {}", kernel.release))?;
    }
    let mut depmod = Command::new(lab.program("depmod")?);
    output_of(depmod.arg("-b").arg(scratch.path()).arg(&kernel.release))?;
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("the names are ours")?;
        files.push((name, fs::read(entry.path())?));
    }
    files.sort();
    Ok(files)
}

struct Search {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
    seen: BTreeSet<String>,
    ordered: Vec<Module>,
}

impl Search {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.built_in.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(path) = self.files.get(name) else {
            bail!("it is neither in the kernel's package nor built in");
        };
        let object = read(path)?;
        for depended in listed(&object, b"\0depends=", ',') {
            self.add(&depended).with_context(|| format!("{name} depends on {depended}"))?;
        }
        for wished in listed(&object, b"\0softdep=pre:", ' ') {
            // A soft dependency names a module or an algorithm; the generic one will do.
            for candidate in [wished.clone(), format!("{wished}_generic")] {
                if self.files.contains_key(&candidate) {
                    self.add(&candidate)?;
                    break;
                }
            }
        }
        self.ordered.push(Module { name: name.to_owned(), object });
        Ok(())
    }
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn listed(object: &[u8], key: &[u8], separator: char) -> Vec<String> {
    let Some(start) = object.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let rest = &object[start + key.len()..];
    let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(separator)
        .map(str::trim)
        .take_while(|word| *word != "post:")
        .filter(|word| !word.is_empty())
        .map(normal)
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if path.extension().is_some_and(|extension| extension == "xz") {
        let mut object = Vec::new();
        liblzma::read::XzDecoder::new(bytes.as_slice())
            .read_to_end(&mut object)
            .with_context(|| format!("cannot decompress {}", path.display()))?;
        return Ok(object);
    }
    Ok(bytes)
}

fn files_by_name(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.join("kernel")];
    while let Some(folder) = folders.pop() {
        let entries =
            folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str())
                && let Some(stem) = name.strip_suffix(".xz").unwrap_or(name).strip_suffix(".ko")
            {
                files.insert(normal(stem), path);
            }
        }
    }
    Ok(files)
}

fn built_in(folder: &Path) -> Result<BTreeSet<String>> {
    let path = folder.join("modules.builtin");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let names = text.lines().filter_map(|line| {
        let (_, name) = line.rsplit_once('/')?;
        Some(normal(name.strip_suffix(".ko")?))
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_a_modules_own_words() {
        let object =
            b"\x7fELF\0license=GPL\0softdep=pre: crc32c post: late\0depends=jbd2,mb-cache\0";
        assert_eq!(listed(object, b"\0depends=", ','), ["jbd2", "mb_cache"]);
        assert_eq!(listed(object, b"\0softdep=pre:", ' '), ["crc32c"]);
        assert!(listed(b"\0depends=\0", b"\0depends=", ',').is_empty());
    }
}
