//! Debian's compiler and what else a kernel is built with, in a root of their own.
//!
//! Each program is a small script that runs it through the root's loader and libraries, so that it does
//! not matter how old or new the machine is. Programs that the kernel's build compiles for itself name
//! that loader too ([`Tools::host_link_flags`]). Of the machine only a shell and what every Debian has
//! beside it are used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{only, unpack};

/// With everything they depend on.
pub(super) const PACKAGES: &[&str] =
    &["gcc", "libc6-dev", "make", "flex", "bison", "bc", "libelf-dev"];

/// Programs by name, and what they are called in `usr/bin`.
const PROGRAMS: &[(&str, &str)] = &[
    ("make", "make"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("m4", "m4"),
    ("bc", "bc"),
    ("as", "x86_64-linux-gnu-as"),
    ("ld", "x86_64-linux-gnu-ld"),
    ("nm", "x86_64-linux-gnu-nm"),
    ("ar", "x86_64-linux-gnu-ar"),
    ("objcopy", "x86_64-linux-gnu-objcopy"),
    ("objdump", "x86_64-linux-gnu-objdump"),
    ("readelf", "x86_64-linux-gnu-readelf"),
    ("size", "x86_64-linux-gnu-size"),
    ("strip", "x86_64-linux-gnu-strip"),
];

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// The tools, unpacked.
#[derive(Debug)]
pub(super) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Unpacks what was downloaded, unless it is there already.
    pub(super) fn unpack(folder: &Path, archives: &[PathBuf]) -> Result<Self> {
        let tools = Self { folder: folder.to_owned() };
        let names: Vec<_> = archives.iter().filter_map(|path| path.file_name()).collect();
        let content = format!("{names:?}\n");
        let record = folder.join("packages");
        if fs::read_to_string(&record).is_ok_and(|there| there == content) {
            return Ok(tools);
        }
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let root = tools.root();
        unpack::unpack(archives, &root)?;
        // Debian's base system makes these; the linker's scripts name files through them.
        for (link, to) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            std::os::unix::fs::symlink(to, root.join(link))?;
        }
        tools.write()?;
        fs::write(record, content)?;
        Ok(tools)
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The folder of the programs, for `PATH`.
    pub(super) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Where `bison` finds what it puts around a parser.
    pub(super) fn bison_data(&self) -> PathBuf {
        self.root().join("usr/share/bison")
    }

    /// What programs are linked with that are to run here: the root's loader and libraries.
    pub(super) fn host_link_flags(&self) -> String {
        let root = self.root();
        let (loader, libraries) = (root.join(LOADER), root.join(LIBRARIES));
        // The older kind of path is also searched for what a library needs.
        format!(
            "-Wl,--dynamic-linker={} -Wl,-rpath={} -Wl,--disable-new-dtags",
            loader.display(),
            libraries.display()
        )
    }

    fn write(&self) -> Result<()> {
        let (programs, passes) = (self.programs(), self.folder.join("passes"));
        fs::create_dir_all(&programs)?;
        fs::create_dir_all(&passes)?;
        for (name, program) in PROGRAMS {
            self.script(&programs.join(name), name, &format!("usr/bin/{program}"), "")?;
        }
        // The compiler starts others. It looks for them where `-B` says, and for headers and libraries
        // relative to what it takes for its own place.
        let versions = self.root().join("usr/libexec/gcc/x86_64-linux-gnu");
        let version = only(&versions)?;
        let version = version.file_name().and_then(|name| name.to_str()).context("no version")?;
        for name in ["cc1", "collect2"] {
            let program = format!("usr/libexec/gcc/x86_64-linux-gnu/{version}/{name}");
            self.script(&passes.join(name), name, &program, "")?;
        }
        for name in ["as", "ld", "nm"] {
            std::os::unix::fs::symlink(Path::new("../bin").join(name), passes.join(name))?;
        }
        let gcc = format!("usr/bin/x86_64-linux-gnu-gcc-{version}");
        let options = "\"-B${0%/*}/../passes/\" \"--sysroot=$root\" ";
        self.script(&programs.join("gcc"), &format!("$root/{gcc}"), &gcc, options)
    }

    fn script(&self, path: &Path, name: &str, program: &str, options: &str) -> Result<()> {
        self.root().join(program).metadata().with_context(|| {
            format!("the packages fetched hold no {program}: the list of tools is out of date")
        })?;
        let text = format!(
            "#!/bin/sh\n\
             # Made by `cargo xtask lab --iommufd`: runs an unpacked program with the unpacked libraries.\n\
             root=${{0%/*}}/../root\n\
             exec \"$root/{LOADER}\" --argv0 \"{name}\" --library-path \"$root/{LIBRARIES}\" \\\n    \
             \"$root/{program}\" {options}\"$@\"\n"
        );
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }
}
