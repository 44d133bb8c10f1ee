//! What has to be on a host for persisted claims to hold from early boot on, as text.
//!
//! Nothing that a device says becomes a part of it: the one thing put in is where the program is,
//! and that has to be spelled plainly.

use ringfence_refusal::Refusal;

use super::{EXTENSION, FOLDER, Persisted};
use crate::refusals;
use crate::root::Root;

/// The first line of each file, by which Ringfence knows its own.
pub(super) const MARK: &str =
    "# Written by ringfence claim --persist. ringfence release --persist removes it.\n";

/// A file that has to be there for persisted claims to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile {
    /// Where, from `/`.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// What is in it.
    pub text: String,
}

/// What makes a host's initramfs, where most drivers are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// Debian's initramfs-tools.
    InitramfsTools,
    /// dracut.
    Dracut,
}

impl Generator {
    const ALL: [Self; 2] = [Self::InitramfsTools, Self::Dracut];

    /// Those that are installed.
    pub fn installed(root: &Root) -> Vec<Self> {
        let is_there = |generator: &Self| root.join(generator.sign()).exists();
        Self::ALL.into_iter().filter(is_there).collect()
    }

    /// The command that makes the initramfs anew.
    pub fn command(self) -> &'static str {
        match self {
            Self::InitramfsTools => "update-initramfs -u",
            Self::Dracut => "dracut --force",
        }
    }

    /// What is there where it is installed.
    fn sign(self) -> &'static str {
        match self {
            Self::InitramfsTools => "usr/share/initramfs-tools/hook-functions",
            Self::Dracut => "usr/bin/dracut",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::InitramfsTools => "etc/initramfs-tools/hooks/ringfence",
            Self::Dracut => "etc/dracut.conf.d/ringfence.conf",
        }
    }

    /// Has it put in the program, the rule, the claims and vfio-pci.
    fn file(self, program: &str) -> BootFile {
        let (mode, text) = match self {
            Self::InitramfsTools => (
                0o755,
                format!(
                    "#!/bin/sh\n{MARK}\
                     if [ \"$1\" = prereqs ]; then exit 0; fi\n\
                     # shellcheck source=/dev/null\n\
                     . /usr/share/initramfs-tools/hook-functions\n\
                     # 1 says that it is there already.\n\
                     copy() {{ copy_file file \"$1\" || [ $? = 1 ] || exit 1; }}\n\
                     copy_exec {program} || exit 1\n\
                     copy /{RULE}\n\
                     for claim in /{FOLDER}/*{EXTENSION}; do\n\
                     \x20   if [ -e \"$claim\" ]; then copy \"$claim\"; fi\n\
                     done\n\
                     force_load vfio-pci\n"
                ),
            ),
            // It expands the pattern when it makes an initramfs.
            Self::Dracut => (
                0o644,
                format!(
                    "{MARK}install_items+=\" {program} /{RULE} /{FOLDER}/*{EXTENSION} \"\n\
                     force_drivers+=\" vfio-pci \"\n"
                ),
            ),
        };
        BootFile { path: self.path().to_string(), mode, text }
    }
}

const RULE: &str = "etc/udev/rules.d/10-ringfence.rules";
const MODULES: &str = "etc/modules-load.d/ringfence.conf";
const UNIT: &str = "etc/systemd/system/ringfence-claims.service";

/// The paths of all files that are not a claim's, whether they are needed here or not.
pub(super) fn shared_paths() -> impl Iterator<Item = &'static str> {
    [RULE, MODULES, UNIT].into_iter().chain(Generator::ALL.map(Generator::path))
}

/// Everything that is written for `claim` to hold from early boot on, `program` being where Ringfence
/// is installed, for a host with these makers of an initramfs. In the order in which they come into
/// play, the claim itself at the end, since without a claim the others do nothing:
///
/// - the generator puts the program, the rule and the claims into the initramfs;
/// - the udev rule runs before the one that loads drivers, and sets `driver_override` of every
///   function of a persisted claim as soon as the first PCI function of the host is told of;
/// - `vfio-pci` is loaded;
/// - the unit makes the claims proper, with journals, before any ordinary service is started.
///
/// A driver built into the kernel comes before all of this; the unit takes the function from it.
///
/// # Errors
///
/// Refuses a path that a shell, udev or systemd would take for more than a path.
pub fn boot_files(
    program: &str,
    generators: &[Generator],
    claim: &Persisted,
) -> Result<Vec<BootFile>, Refusal> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._+-".contains(letter);
    if !program.starts_with('/') || !program.chars().all(is_plain) {
        return Err(Refusal::new(&refusals::PROGRAM_PATH, format!("{program:?}")));
    }
    let Some(name) = claim.name() else {
        return Err(Refusal::new(&refusals::PARTIAL, "no function was named"));
    };
    let file = |path: &str, mode, text: String| BootFile { path: path.to_string(), mode, text };
    let mut files = Vec::new();
    let rule = "ACTION==\"add\", SUBSYSTEM==\"pci\", PROGRAM==";
    files.push(file(RULE, 0o644, format!("{MARK}{rule}\"{program} claim --at-boot\"\n")));
    files.push(file(MODULES, 0o644, format!("{MARK}vfio-pci\n")));
    files.extend(generators.iter().map(|generator| generator.file(program)));
    let unit = format!(
        "{MARK}[Unit]\nDescription=Claim PCI functions for virtual machines\n\
         DefaultDependencies=no\nAfter=systemd-modules-load.service systemd-udev-settle.service\n\
         Wants=systemd-udev-settle.service\nConflicts=shutdown.target\n\
         Before=sysinit.target network-pre.target shutdown.target\n\
         ConditionDirectoryNotEmpty=/{FOLDER}\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart={program} claim --recover\nExecStart={program} claim --persisted\n\n\
         [Install]\nWantedBy=sysinit.target\n"
    );
    files.push(file(UNIT, 0o644, unit));
    let text = serde_json::to_string_pretty(claim).expect("text and numbers");
    files.push(file(&format!("{FOLDER}/{name}{EXTENSION}"), 0o600, text + "\n"));
    Ok(files)
}
