//! One kernel from source to image, in a folder that an interruption leaves for the next time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::only;
use super::tools::Tools;
use crate::fetch::{output_of, say};

/// How often somebody who waits is told how far it is.
const REPORT: Duration = Duration::from_secs(20);

/// How many of the last lines are shown of a build that failed.
const LAST_WORDS: usize = 30;

/// The folder of a build.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    what: String,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) release: String,
    pub(super) image: PathBuf,
    pub(super) config: PathBuf,
    pub(super) built_in: PathBuf,
    pub(super) seconds: u64,
}

impl Work {
    /// Unpacks the source, or goes on with what an interrupted build of the same left.
    pub(super) fn begin(folder: &Path, what: &str, recipe: &str, archive: &Path) -> Result<Self> {
        let work = Self { folder: folder.to_owned(), what: what.to_owned() };
        let content = format!("{what}\n{recipe}");
        let record = folder.join("recipe");
        if fs::read_to_string(&record).is_ok_and(|there| there == content) {
            say(&format!("going on with {what}"));
            return Ok(work);
        }
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        for below in ["package", "source", "build"] {
            fs::create_dir_all(folder.join(below))?;
        }
        say(&format!("unpacking {what}"));
        let package = folder.join("package");
        output_of(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&package))?;
        let packed = package.join("usr/src");
        let packed = packed
            .read_dir()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.to_str().is_some_and(|path| path.ends_with(".tar.xz")));
        extract(&packed.context("the package holds no archive of the source")?, &work.source())?;
        fs::remove_dir_all(package)?;
        fs::write(record, content)?;
        Ok(work)
    }

    fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    /// Configures and builds; says every so often how far it is.
    pub(super) fn build(&self, tools: &Tools, config: &str) -> Result<Made> {
        let started = Instant::now();
        let build = self.folder.join("build");
        let wanted = self.folder.join("wanted.config");
        fs::write(&wanted, config)?;
        if !build.join(".config").exists() {
            let mut make = self.make(tools)?;
            output_of(make.arg("allnoconfig").env("KCONFIG_ALLCONFIG", &wanted))?;
        }
        let taken = fs::read_to_string(build.join(".config"))?;
        let refused = refused(config, &taken);
        if !refused.is_empty() {
            bail!("{} does not take {}", self.what, refused.join(", "));
        }
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut make = self.make(tools)?;
        self.watch(make.arg(format!("-j{jobs}")).arg("bzImage"), started)?;
        let mut make = self.make(tools)?;
        let said = output_of(make.args(["-s", "kernelrelease"]))?;
        let release = said.lines().last().context("make named no release")?.trim().to_owned();
        say(&format!("built {release} in {:.0?}", started.elapsed()));
        Ok(Made {
            release,
            image: build.join("arch/x86/boot/bzImage"),
            config: build.join(".config"),
            built_in: build.join("modules.builtin"),
            seconds: started.elapsed().as_secs(),
        })
    }

    /// Takes the folder away.
    pub(super) fn end(self) -> Result<()> {
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    /// `make` with nothing of this process's environment.
    fn make(&self, tools: &Tools) -> Result<Command> {
        let programs = tools.programs();
        let mut make = Command::new(programs.join("make"));
        make.env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .env("LC_ALL", "C")
            .env("M4", programs.join("m4"))
            .env("BISON_PKGDATADIR", tools.bison_data())
            // Nothing of when, where and by whom goes into the image.
            .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
            .env("KBUILD_BUILD_USER", "lab")
            .env("KBUILD_BUILD_HOST", "lab")
            .env("KBUILD_BUILD_VERSION", "1")
            .arg("-C")
            .arg(only(&self.source())?)
            .arg(format!("O={}", self.folder.join("build").display()))
            .arg(format!("HOSTLDFLAGS={}", tools.host_link_flags()))
            .stdin(Stdio::null());
        Ok(make)
    }

    /// Runs a build; of one that fails the last lines become the error.
    fn watch(&self, make: &mut Command, started: Instant) -> Result<()> {
        // One pipe for both, so that complaints stand where they were made.
        let (reading, writing) = std::io::pipe()?;
        make.stdout(writing.try_clone()?).stderr(writing);
        let mut child = make.spawn().context("cannot start make")?;
        // It keeps the other end of the pipe open.
        make.stdout(Stdio::null()).stderr(Stdio::null());
        let (mut last, mut steps, mut reported) = (Vec::new(), 0_u32, Instant::now());
        for line in BufReader::new(reading).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
            steps += 1;
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                let minutes = started.elapsed().as_secs() / 60;
                say(&format!("{}: {minutes} min, step {steps}, {}", self.what, line.trim()));
            }
            if last.len() == LAST_WORDS {
                last.remove(0);
            }
            last.push(line);
        }
        let status = child.wait()?;
        if !status.success() {
            bail!(
                "{} cannot be built ({status}); what is done stays in {}:\n{}",
                self.what,
                self.folder.display(),
                last.join("\n")
            );
        }
        Ok(())
    }
}

/// Unpacks an archive without the machine's having a program for its compression.
fn extract(archive: &Path, folder: &Path) -> Result<()> {
    let mut tar = Command::new("tar")
        .arg("-x")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start `tar`")?;
    let packed = BufReader::new(fs::File::open(archive)?);
    let mut unpacked = liblzma::read::XzDecoder::new(packed);
    let mut input = tar.stdin.take().context("a pipe was asked for")?;
    let copied = std::io::copy(&mut unpacked, &mut input);
    drop(input);
    let status = tar.wait()?;
    copied.with_context(|| format!("cannot unpack {}", archive.display()))?;
    if !status.success() {
        bail!("tar cannot unpack {} ({status})", archive.display());
    }
    Ok(())
}

/// Lines of a configuration that are not in what Kconfig made of it.
fn refused<'a>(wanted: &'a str, taken: &str) -> Vec<&'a str> {
    let wanted = wanted.lines().filter(|line| line.starts_with("CONFIG_"));
    wanted.filter(|line| !taken.lines().any(|there| there == *line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kconfig_leaves_out_is_noticed() {
        let wanted = "# a comment\nCONFIG_A=y\nCONFIG_B=y\n";
        assert_eq!(refused(wanted, "CONFIG_A=y\n# CONFIG_B is not set\n"), ["CONFIG_B=y"]);
        assert_eq!(refused(wanted, "CONFIG_B=y\nCONFIG_A=y\n"), [""; 0]);
    }
}
