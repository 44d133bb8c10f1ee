//! `cargo xtask lab`: fill the lab and say what is in it; `--iommufd`: its kernels, too, that Debian
//! does not have.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use ringfence_lab::fetch::{self, Fetched};
use ringfence_lab::{own_kernel, quickstart};

/// Fills the lab and prints its contents.
pub(crate) fn run() -> Result<ExitCode> {
    let (root, record) = fetch::fill()?;
    quickstart::prepare(&root)?;
    let rows: Vec<&Fetched> = record.packages.iter().chain(&record.peers).collect();
    let width = |of: fn(&Fetched) -> usize| rows.iter().map(|row| of(row)).max().unwrap_or(0);
    let names = width(|row| row.name.len());
    let versions = width(|row| row.version.len());
    let mut output = std::io::stdout().lock();
    for row in &rows {
        let line =
            writeln!(output, "{:names$}  {:versions$}  {}", row.name, row.version, row.sha256);
        // A reader such as `head` that has seen enough is no failure.
        if line.is_err() {
            break;
        }
    }
    eprintln!("lab: {} packages and programs in {}", rows.len(), root.folder().display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the kernels that have iommufd, and prints what they are.
pub(crate) fn iommufd() -> Result<ExitCode> {
    let mut output = std::io::stdout().lock();
    for built in own_kernel::fill()? {
        let own_kernel::Built { release, source, bytes, seconds, .. } = built;
        let line =
            writeln!(output, "{release}  from {source}  {bytes} bytes  built in {seconds} s");
        if line.is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
