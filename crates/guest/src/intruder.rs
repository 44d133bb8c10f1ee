//! A tenant of an Intel graphics function that leaves a secret in its stolen memory, or looks for one.
//!
//! `intruder plant ADDRESS LAYOUT…` opens the function through VFIO as a VMM would, and writes a secret
//! into every page of its stolen memory as a guest's driver would: entries of the page table, flush,
//! aperture. It leaves entries behind that name the first page and the last. `search` opens it as the next
//! tenant, prints how many pages hold the secret, and how many of those two are found through what was
//! left behind. It has nothing in common with what clears the memory but how a function is opened.
//!
//! A layout is how entries are encoded (`haswell`, `bay-trail`, `wide`, or `none` if the memory is behind
//! BAR 2), where in BAR 0 the page table begins (or the memory, in BAR 2), where the memory is, how many
//! bytes of it are used, and which of these are kept out of it (`FIRST-LAST`), if any.

use std::ops::RangeInclusive;
use std::process::ExitCode;

use ringfence_device::{
    Access, HostWriter, Manager, Opened, RUN_FOLDER, Root, Store, become_writer_if_asked,
};
use ringfence_refusal::{Failure, Fault};

const PAGE: u64 = 4096;
const SECRET: &[u8; 16] = b"a tenant's own, ";
/// `GFX_FLSH_CNTL`.
const FLUSH: u64 = 0x10_1008;
/// Entries it uses: beside firmware's framebuffer, and so many at once.
const FIRST_ENTRY: u64 = 512;
const AT_ONCE: usize = 256;
/// Entries it leaves behind.
const LEFT: u64 = 1024;

fn main() -> ExitCode {
    become_writer_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match obey(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("intruder: {message}");
            ExitCode::FAILURE
        }
    }
}

fn obey(words: &[&str]) -> Result<(), String> {
    let [verb, address, layout @ ..] = words else { return Err("do what, and where?".to_owned()) };
    let layout = Layout::parse(layout)?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let (writer, root) = (HostWriter::default(), Root::default());
    let manager = Manager::new(root.clone(), &writer, Store::new(RUN_FOLDER));
    let hold = manager.hold(address).map_err(told)?;
    let function = hold.open_function(&root, address).map_err(told)?;
    let mut tenant = Tenant { function, layout };
    match *verb {
        "plant" => tenant.plant(),
        "search" => tenant.search(),
        _ => return Err(format!("`{verb}` is nothing it can do")),
    }
    .map_err(|fault| told(fault.into()))
}

fn told(failure: Failure) -> String {
    match &failure {
        Failure::Refused(refusal) => refusal.to_string(),
        Failure::Faulted(fault) => format!("{fault}: {}", fault.io_error()),
    }
}

/// How entries are encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Haswell,
    BayTrail,
    Wide,
    /// There are none: the memory is behind BAR 2.
    None,
}

struct Layout {
    encoding: Encoding,
    begins: u64,
    memory: u64,
    bytes: u64,
    kept: Vec<RangeInclusive<u64>>,
}

impl Layout {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let [encoding, begins, memory, bytes, kept @ ..] = words else {
            return Err("a layout has an encoding and three numbers at least".to_owned());
        };
        let encoding = match *encoding {
            "haswell" => Encoding::Haswell,
            "bay-trail" => Encoding::BayTrail,
            "wide" => Encoding::Wide,
            "none" => Encoding::None,
            other => return Err(format!("`{other}` is no encoding")),
        };
        let kept = kept.iter().map(|range| {
            let (first, last) = range.split_once('-').ok_or(format!("`{range}` is no range"))?;
            Ok(number(first)?..=number(last)?)
        });
        Ok(Self {
            encoding,
            begins: number(begins)?,
            memory: number(memory)?,
            bytes: number(bytes)?,
            kept: kept.collect::<Result<_, String>>()?,
        })
    }

    /// Pages a tenant uses, by their place in the memory.
    fn pages(&self) -> Vec<u64> {
        let all = (0..self.bytes).step_by(4096);
        all.filter(|page| !self.kept.iter().any(|kept| kept.contains(page))).collect()
    }

    fn entry(&self, page: u64) -> ([u8; 8], usize) {
        let address = self.memory + page;
        let (entry, bytes) = match self.encoding {
            Encoding::Haswell => (address | address >> 28 & 0x7f0 | 1, 4),
            Encoding::BayTrail => (address | address >> 28 & 0xff0 | 3, 4),
            Encoding::Wide | Encoding::None => (address | 1, 8),
        };
        (entry.to_le_bytes(), bytes)
    }
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").ok_or(format!("{text} does not begin with 0x"))?;
    u64::from_str_radix(digits, 16).map_err(|error| format!("{text}: {error}"))
}

/// Where in a page its secret is: not in the same place everywhere.
fn place_in(page: u64) -> u64 {
    (page / PAGE * 48 % (PAGE - 16)) & !7
}

struct Tenant<'a> {
    function: Opened<'a>,
    layout: Layout,
}

impl Tenant<'_> {
    fn begin(&mut self) -> Result<(), Fault> {
        let mut command = [0; 2];
        self.function.read_config(4, &mut command)?;
        self.function.write_config(4, &[command[0] | 2, command[1]])
    }

    fn plant(&mut self) -> Result<(), Fault> {
        self.begin()?;
        let pages = self.layout.pages();
        self.each(&pages, |function, page, at| function.write(2, at + place_in(page), SECRET))?;
        if let Some((first, last)) = self.ends(&pages) {
            self.name(LEFT, first)?;
            self.name(LEFT + 1, last)?;
            self.flush()?;
        }
        println!("planted {}", pages.len());
        Ok(())
    }

    fn search(&mut self) -> Result<(), Fault> {
        self.begin()?;
        let pages = self.layout.pages();
        let mut left = 0;
        if let Some((first, last)) = self.ends(&pages) {
            left += usize::from(is_secret(&mut self.function, first, LEFT * PAGE)?);
            left += usize::from(is_secret(&mut self.function, last, (LEFT + 1) * PAGE)?);
        }
        let mut found = 0;
        self.each(&pages, |function, page, at| {
            found += usize::from(is_secret(function, page, at)?);
            Ok(())
        })?;
        println!("found {found} of {}, {left} by what was left", pages.len());
        Ok(())
    }

    /// Does something for each page, with where it is in BAR 2 at that moment.
    fn each(
        &mut self,
        pages: &[u64],
        mut act: impl FnMut(&mut Opened<'_>, u64, u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.layout.encoding == Encoding::None {
            let begins = self.layout.begins;
            return pages.iter().try_for_each(|page| act(&mut self.function, *page, begins + page));
        }
        let mut rest = pages;
        while !rest.is_empty() {
            let (some, others) = rest.split_at(rest.len().min(AT_ONCE));
            for (entry, page) in (FIRST_ENTRY..).zip(some) {
                self.name(entry, *page)?;
            }
            self.flush()?;
            for (entry, page) in (FIRST_ENTRY..).zip(some) {
                act(&mut self.function, *page, entry * PAGE)?;
            }
            rest = others;
        }
        Ok(())
    }

    /// The first page and the last, if entries name them.
    fn ends(&self, pages: &[u64]) -> Option<(u64, u64)> {
        let is_named = self.layout.encoding != Encoding::None;
        is_named.then_some((*pages.first()?, *pages.last()?))
    }

    /// Has an entry name a page.
    fn name(&mut self, entry: u64, page: u64) -> Result<(), Fault> {
        let (value, bytes) = self.layout.entry(page);
        let at = self.layout.begins + entry * bytes as u64;
        self.function.write(0, at, &value[..bytes])
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.function.write(0, FLUSH, &[1, 0, 0, 0])
    }
}

fn is_secret(function: &mut Opened<'_>, page: u64, at: u64) -> Result<bool, Fault> {
    let mut bytes = [0; SECRET.len()];
    function.read(2, at + place_in(page), &mut bytes)?;
    Ok(bytes == *SECRET)
}
