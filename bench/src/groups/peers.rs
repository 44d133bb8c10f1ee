//! What people look at groups with: `lspci -vvv`, and a loop of the shell over the kernel's groups.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

/// The loop that goes round: one `lspci` for each function of each group.
const LOOP: &str = r#"
for group in "$1"/sys/kernel/iommu_groups/*; do
    echo "IOMMU Group ${group##*/}:"
    for device in "$group"/devices/*; do
        printf '\t'; "$2" -A linux-sysfs -O sysfs.path="$1/sys/bus/pci" -nns "${device##*/}"
    done
done
"#;

/// The lab's lspci if there is one, else the machine's; `None` if neither has it.
pub(super) fn lspci() -> Option<PathBuf> {
    let name = "lspci";
    let lab = ringfence_lab::root().and_then(|lab| lab.program(name)).ok();
    lab.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|it| it.is_file())
    })
}

/// `lspci -vvv` over what it takes for sysfs.
pub(super) fn all(lspci: &Path, pci: &Path) -> Command {
    let mut command = Command::new(lspci);
    command.args(["-A", "linux-sysfs", "-O"]).arg(option(pci)).arg("-vvv");
    command
}

/// The shell's loop over the groups of a tree.
pub(super) fn shell_loop(lspci: &Path, root: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", LOOP, "sh"]).arg(root).arg(lspci);
    command
}

/// Our verb over whatever is at `from`.
pub(super) fn ours(program: &Path, from: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["groups", "--model", "linux-6.12", "--from"]).arg(from);
    command
}

fn option(pci: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from("sysfs.path=");
    option.push(pci);
    option
}

/// Milliseconds until `command` has printed everything, and how many functions it named.
pub(super) fn time(mut command: Command, is_function: fn(&str) -> bool) -> Result<(f64, usize)> {
    let begin = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    Ok((took, text.lines().filter(|line| is_function(line)).count()))
}

/// Whether a line of lspci begins a function: `0000:01:00.0 Ethernet controller`.
pub(super) fn begins_a_function(line: &str) -> bool {
    let word = line.trim_start_matches('\t').split(' ').next().unwrap_or_default();
    line.trim_start_matches('\t').len() > word.len()
        && word.rsplit_once('.').is_some_and(|(bus, function)| {
            function.len() == 1 && bus.split(':').all(|part| u32::from_str_radix(part, 16).is_ok())
        })
}
