//! Small scripts in `bin/` that run the unpacked programs through the unpacked loader.
//!
//! Each one execs, so that the process a test started *is* the program: signals and the end of the
//! parent reach it. Paths are taken relative to the script.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::interpreter;

/// A program to wrap: its name in `bin/`, where it is in the root, and options to put first.
struct Wrapped {
    name: &'static str,
    program: &'static str,
    environment: &'static str,
    options: &'static str,
}

const fn plain(name: &'static str, program: &'static str) -> Wrapped {
    Wrapped { name, program, environment: "", options: "" }
}

const WRAPPED: &[Wrapped] = &[
    Wrapped {
        name: "qemu-system-x86_64",
        program: "usr/bin/qemu-system-x86_64",
        environment: "QEMU_MODULE_DIR=\"$root/usr/lib/x86_64-linux-gnu/qemu\"",
        options: "-L \"$root/usr/share/qemu\" -L \"$root/usr/share/seabios\" \
                  -L \"$root/usr/lib/ipxe/qemu\"",
    },
    plain("qemu-storage-daemon", "usr/bin/qemu-storage-daemon"),
    plain("qemu-img", "usr/bin/qemu-img"),
    plain("qemu-io", "usr/bin/qemu-io"),
    Wrapped {
        name: "mke2fs",
        program: "usr/sbin/mke2fs",
        environment: "MKE2FS_CONFIG=\"$root/etc/mke2fs.conf\"",
        options: "",
    },
    plain("e2fsck", "usr/sbin/e2fsck"),
    plain("debugfs", "usr/sbin/debugfs"),
    plain("mkfs.fat", "usr/sbin/mkfs.fat"),
    // One program that looks at the name it was called by.
    plain("mcopy", "usr/bin/mtools"),
    plain("mmd", "usr/bin/mtools"),
    plain("mdir", "usr/bin/mtools"),
    plain("grub-mkimage", "usr/bin/grub-mkimage"),
    plain("depmod", "usr/bin/kmod"),
    Wrapped {
        name: "lspci",
        program: "usr/bin/lspci",
        environment: "",
        options: "-i \"$root/usr/share/misc/pci.ids\"",
    },
];

/// Writes `bin/` into `folder` for the root that will be at `lab/root`.
pub(crate) fn write(folder: &Path, unpacked: &Path, lab: &Path) -> Result<()> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    for wrapped in WRAPPED {
        let program = unpacked.join(wrapped.program);
        program.symlink_metadata().with_context(|| {
            format!(
                "the packages fetched hold no {}: the lab's list is out of date",
                wrapped.program
            )
        })?;
        let text = format!(
            "#!/bin/sh\n\
             # Made by `cargo xtask lab`: runs the unpacked {name} with the unpacked libraries.\n\
             root=${{0%/*}}/../root\n\
             libraries=$root/usr/lib/x86_64-linux-gnu\n\
             {environment}\
             exec \"$root/usr/lib64/ld-linux-x86-64.so.2\" --argv0 {name} \\\n    \
             --library-path \"$libraries:$libraries/pulseaudio\" \\\n    \
             \"$root/{program}\" {options} \"$@\"\n",
            name = wrapped.name,
            environment = match wrapped.environment {
                "" => String::new(),
                assignment => format!("export {assignment}\n"),
            },
            program = wrapped.program,
            options = wrapped.options,
        );
        script(&bin.join(wrapped.name), &text)?;
    }
    user_mode_linux(&bin, unpacked, lab)
}

/// User-Mode Linux measures its own heap and may start itself again, so it cannot be run as an
/// argument of the loader: a copy of it names the unpacked loader instead.
fn user_mode_linux(bin: &Path, unpacked: &Path, lab: &Path) -> Result<()> {
    let original = fs::read(unpacked.join("usr/bin/linux.uml"))
        .context("the packages fetched hold no usr/bin/linux.uml")?;
    let loader = lab.join("root/usr/lib64/ld-linux-x86-64.so.2");
    let program = interpreter::replace(original, &loader)?;
    let path = unpacked.join("usr/bin/linux.uml-relocated");
    fs::write(&path, program)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let text = "#!/bin/sh\n\
         # Made by `cargo xtask lab`: runs the unpacked User-Mode Linux with the unpacked libraries.\n\
         root=${0%/*}/../root\n\
         export LD_LIBRARY_PATH=\"$root/usr/lib/x86_64-linux-gnu\"\n\
         exec \"$root/usr/bin/linux.uml-relocated\" \"$@\"\n";
    script(&bin.join("linux.uml"), text)
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
