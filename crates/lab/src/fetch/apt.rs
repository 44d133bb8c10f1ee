//! A private apt: the machine's configuration and mirror, but state, cache and suites of our own.
//!
//! Runs as an ordinary user and installs nothing. What the machine's apt knows (proxies, transports,
//! credentials) stays in force; what would reach outside the lab (hooks, preferences, the dpkg
//! status of the machine) does not.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::packages::{DebianKernel, KERNEL, Package, SOURCE};
use super::sources::{Mirror, mirrors};

/// The suites the lab takes packages from; backports only where asked.
const SUITES: &str = "trixie trixie-backports";

/// The suite of newer programs: QEMU 11 is there.
const BACKPORTS: &str = "trixie-backports";

/// The suite of everything else.
const SUITE: &str = "trixie";

/// An apt with a state of its own below one folder.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Sets up the state below `folder` and fetches the package lists.
    pub(crate) fn update(folder: &Path) -> Result<Self> {
        for below in ["lists/partial", "cache/archives/partial", "state", "incoming"] {
            let path = folder.join(below);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        // An absolute folder: apt resolves relative ones against its own.
        let folder = std::path::absolute(folder)?;
        fs::write(folder.join("status"), "")?;
        fs::write(folder.join("apt.conf"), configuration(&folder))?;
        let apt = Self { folder };
        let (list, parts) = machine_sources()?;
        let candidates = mirrors(&list, &parts)?;
        let mut failures = Vec::new();
        for mirror in candidates.iter().take(3) {
            fs::write(apt.folder.join("lab.sources"), stanza(mirror))?;
            match apt.run("apt-get", ["-q", "update"], &apt.folder) {
                Ok(_) => return Ok(apt),
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        bail!(
            "cannot fetch Debian's package lists for `{SUITES}`:\n{}\n\
             Check the network (a proxy goes into apt's configuration), that the mirror carries \
             these suites, and that the package debian-archive-keyring is up to date.",
            failures.join("\n")
        )
    }

    /// `names` and everything they depend on, newest of both suites, without recommended packages.
    pub(crate) fn closure(&self, names: &[&str]) -> Result<Vec<Package>> {
        let mut arguments = vec!["--simulate", "--quiet", "install", "-t", BACKPORTS];
        arguments.extend(names);
        let output = self.run("apt-get", arguments, &self.folder)?;
        let packages: Vec<Package> = output.lines().filter_map(simulated).collect();
        if packages.is_empty() {
            bail!("apt-get simulated an installation of {} and named no package", names.join(", "));
        }
        Ok(packages)
    }

    /// `name` alone, as the suite has it that apt prefers (not backports).
    pub(crate) fn alone(&self, name: &str) -> Result<Package> {
        package(&self.show(name, SUITE)?, name)
    }

    /// The packages of the newest kernel of a suite.
    pub(crate) fn kernel(&self, kernel: &DebianKernel) -> Result<Vec<Package>> {
        let output = self.show(KERNEL, kernel.suite)?;
        let release = output
            .lines()
            .filter_map(|line| line.strip_prefix("Depends: "))
            .flat_map(|depends| depends.split(','))
            .filter_map(|depends| depends.split_whitespace().next()?.strip_prefix("linux-image-"))
            .find(|release| release.starts_with(|first: char| first.is_ascii_digit()))
            .with_context(|| format!("{KERNEL} of {} depends on no kernel", kernel.suite))?;
        let names = kernel.parts.iter().map(|part| format!("linux-{part}-{release}"));
        names.map(|name| package(&self.show(&name, kernel.suite)?, &name)).collect()
    }

    /// The package with the source of a suite's newest kernel.
    pub(crate) fn source(&self, suite: &str) -> Result<Package> {
        let output = self.show(SOURCE, suite)?;
        let name = output
            .lines()
            .filter_map(|line| line.strip_prefix("Depends: "))
            .flat_map(|depends| depends.split(','))
            .filter_map(|depends| depends.split_whitespace().next())
            .find(|name| name.starts_with("linux-source-"))
            .with_context(|| format!("{SOURCE} of {suite} depends on no source"))?;
        package(&self.show(name, suite)?, name)
    }

    /// What the lists say of `name`, the version that `suite` has.
    fn show(&self, name: &str, suite: &str) -> Result<String> {
        let suite = format!("APT::Default-Release={suite}");
        self.run("apt-cache", ["-o", &suite, "show", "--no-all-versions", name], &self.folder)
    }

    /// Downloads what is not there yet; returns the archive of each package, in order.
    pub(crate) fn download(
        &self,
        packages: &[Package],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<PathBuf>> {
        let archives = self.folder.join("cache/archives");
        let incoming = self.folder.join("incoming");
        let missing: Vec<&Package> =
            packages.iter().filter(|package| !archives.join(package.file()).is_file()).collect();
        // In portions, each moved into place whole, so that an interruption costs one portion.
        for (index, portion) in missing.chunks(12).enumerate() {
            progress(index * 12, missing.len());
            fs::remove_dir_all(&incoming)?;
            fs::create_dir(&incoming)?;
            let named: Vec<String> = portion
                .iter()
                .map(|package| format!("{}={}", package.name, package.version))
                .collect();
            let mut arguments = vec!["-q".to_owned(), "download".to_owned()];
            arguments.extend(named);
            self.run("apt-get", arguments, &incoming)?;
            for package in portion {
                let file = package.file();
                fs::rename(incoming.join(&file), archives.join(&file)).with_context(|| {
                    format!("apt-get said it downloaded {file}, but it is not there")
                })?;
            }
        }
        Ok(packages.iter().map(|package| archives.join(package.file())).collect())
    }

    fn run<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
        folder: &Path,
    ) -> Result<String> {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.folder.join("apt.conf"))
            .args(arguments)
            .current_dir(folder)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        let output = output_of(&mut command)?;
        Ok(output)
    }
}

/// Runs a command for what it prints; what it says on failure becomes the error.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "`{name}` is not on this machine: the lab is filled by Debian's own tools (packages \
             apt, dpkg and coreutils)"
        ),
        Err(error) => return Err(error).with_context(|| format!("cannot start `{name}`")),
    };
    let talk = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let arguments: Vec<_> =
            command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("`{name} {}` failed ({}): {}", arguments.join(" "), output.status, talk.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The source list and the folder of further ones the machine's apt is configured with.
fn machine_sources() -> Result<(PathBuf, PathBuf)> {
    let output = output_of(Command::new("apt-config").args([
        "shell",
        "LIST",
        "Dir::Etc::sourcelist/f",
        "PARTS",
        "Dir::Etc::sourceparts/d",
    ]))?;
    let value = |name: &str| {
        output
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix("='")?.strip_suffix('\''))
            .map(PathBuf::from)
    };
    Ok((
        value("LIST").unwrap_or_else(|| "/etc/apt/sources.list".into()),
        value("PARTS").unwrap_or_else(|| "/etc/apt/sources.list.d".into()),
    ))
}

/// One package of what `apt-cache show` printed.
fn package(shown: &str, name: &str) -> Result<Package> {
    let field = |field: &str| {
        shown
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))
            .map(str::to_owned)
            .with_context(|| format!("apt-cache shows no `{field}` for the package {name}"))
    };
    Ok(Package {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
    })
}

fn stanza(mirror: &Mirror) -> String {
    let mut stanza = format!(
        "Types: deb\nURIs: {}\nSuites: {SUITES}\nComponents: main\nArchitectures: amd64\n\
         Targets: Packages\n",
        mirror.uri
    );
    for (name, value) in [("Signed-By", &mirror.signed_by), ("Trusted", &mirror.trusted)] {
        if let Some(value) = value {
            stanza.push_str(&format!("{name}: {value}\n"));
        }
    }
    stanza
}

fn configuration(folder: &Path) -> String {
    let mut text = String::new();
    for hook in [
        "APT::Update::Pre-Invoke",
        "APT::Update::Post-Invoke",
        "APT::Update::Post-Invoke-Success",
        "APT::Architectures",
    ] {
        text.push_str(&format!("#clear {hook};\n"));
    }
    let folder = folder.display();
    for (name, value) in [
        ("Dir::State", format!("{folder}/state")),
        ("Dir::State::lists", format!("{folder}/lists/")),
        ("Dir::State::status", format!("{folder}/status")),
        ("Dir::Cache", format!("{folder}/cache")),
        ("Dir::Cache::archives", format!("{folder}/cache/archives/")),
        ("Dir::Cache::pkgcache", "pkgcache.bin".to_owned()),
        ("Dir::Cache::srcpkgcache", "srcpkgcache.bin".to_owned()),
        ("Dir::Etc::sourcelist", format!("{folder}/lab.sources")),
        ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
        ("Dir::Etc::preferences", "/dev/null".to_owned()),
        ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
        ("APT::Architecture", "amd64".to_owned()),
        // With none named, apt would ask the machine's dpkg for foreign ones.
        ("APT::Architectures::", "amd64".to_owned()),
        ("APT::Sandbox::User", "root".to_owned()),
        ("APT::Install-Recommends", "false".to_owned()),
        ("APT::Install-Suggests", "false".to_owned()),
        ("APT::Default-Release", String::new()),
        ("APT::Update::Error-Mode", "any".to_owned()),
        ("Acquire::Retries", "2".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        ("Debug::NoLocking", "true".to_owned()),
    ] {
        text.push_str(&format!("{name} \"{value}\";\n"));
    }
    text
}

/// `Inst libc6 (2.41-12 Debian:13/stable [amd64])` → the package.
fn simulated(line: &str) -> Option<Package> {
    let rest = line.strip_prefix("Inst ")?;
    let (name, rest) = rest.split_once(" (")?;
    let version = rest.split_whitespace().next()?;
    // What follows the parenthesis in brackets is about the order of configuring.
    let (inside, _) = rest.split_once(')')?;
    let (_, architecture) = inside.strip_suffix(']')?.rsplit_once('[')?;
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_installation_names_packages_versions_and_architectures() {
        let line =
            "Inst qemu-utils (1:11.1.3+ds-1~bpo13+1 Backports:13/stable-backports [amd64]) []";
        let package = simulated(line).expect("a package");
        assert_eq!(package.name, "qemu-utils");
        assert_eq!(package.file(), "qemu-utils_1%3a11.1.3+ds-1~bpo13+1_amd64.deb");
        assert_eq!(simulated("Conf qemu-utils (1:11 Backports [amd64])"), None);
    }
}
