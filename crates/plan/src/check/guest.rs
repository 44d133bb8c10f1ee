//! A running guest against its plan: what its kernel makes of the map it was given.
//!
//! The kernel's own account is `/proc/iomem`: what it uses as memory is `System RAM` there. It shows
//! addresses to root alone; to others all are zero.

use ringfence_addr::{Gpa, Span};

use super::violation::{Rule, Violation};
use crate::map::{Plan, Use};

/// The longest list that is read: kernels have some hundred lines.
const LINES_MOST: usize = 1 << 16;
/// What firmware and kernel take of every piece of memory for tables of their own, at most.
const FIRMWARE_SHARE: u64 = 16 << 20;
/// Firmware's on every PC, whatever it is called in the kernel's list.
const LEGACY_LAST: u64 = 0xf_ffff;

/// What a guest's kernel uses as memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestMemory {
    /// The spans, as they are listed.
    pub system_ram: Vec<Span<Gpa>>,
}

impl GuestMemory {
    /// Reads `/proc/iomem`, or says why it cannot be read.
    pub fn read(iomem: &str) -> Result<Self, String> {
        let mut system_ram = Vec::new();
        for (number, line) in iomem.lines().take(LINES_MOST).enumerate() {
            // What is inside of something else is set in.
            if line.starts_with(' ') || line.is_empty() {
                continue;
            }
            let span = line.split_once(" : ").and_then(|(span, name)| Some((span_of(span)?, name)));
            let Some((span, name)) = span else {
                return Err(format!("line {} is no `first-last : name`", number + 1));
            };
            if name.trim() == "System RAM" {
                system_ram.push(span);
            }
        }
        if system_ram.is_empty() {
            return Err("it lists no System RAM".to_owned());
        }
        if system_ram.iter().all(|span| span.last().get() == 0) {
            return Err("all its addresses are zero: read it as root".to_owned());
        }
        Ok(Self { system_ram })
    }
}

fn span_of(text: &str) -> Option<Span<Gpa>> {
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok().map(Gpa::new);
    Span::new(number(first)?, number(last)?)
}

/// Where the guest goes by another map than its plan's; nothing if it goes by that.
pub fn check_guest(plan: &Plan, guest: &GuestMemory) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut say = |span: Span<Gpa>, text: String| {
        violations.push(Violation::new(Rule::Guest, span, text));
    };
    for used in &guest.system_ram {
        for entry in plan.map.iter().filter(|entry| entry.usage != Use::Ram) {
            let within = used.intersection(&entry.span);
            // Firmware's first MiB is told apart by every kernel for itself.
            if let Some(span) = within.filter(|span| span.last().get() > LEGACY_LAST) {
                say(span, format!("the guest uses {span} as memory, which is {}", entry.usage));
            }
        }
        let mut planned: u128 = plan
            .map
            .iter()
            .filter_map(|entry| entry.span.intersection(used))
            .map(|span| span.length())
            .sum();
        planned = used.length().saturating_sub(planned);
        if planned > 0 {
            say(*used, format!("the guest uses {used} as memory, {planned} bytes of it unplanned"));
        }
    }
    for entry in plan.map.iter().filter(|entry| entry.usage == Use::Ram) {
        let used = guest.system_ram.iter().filter_map(|span| span.intersection(&entry.span));
        let used: u128 = used.map(|span| span.length()).sum();
        let missing = entry.span.length().saturating_sub(used);
        if missing > u128::from(FIRMWARE_SHARE) {
            say(entry.span, format!("of memory at {} the guest uses {used} bytes", entry.span));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::{Machine, Request, plan};

    const IOMEM: &str = "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-7ffdbfff : System RAM
  01000000-01e02a70 : Kernel code
b0000000-bfffffff : PCI ECAM 0000 [bus 00-ff]
100000000-17fffffff : System RAM
";

    fn planned() -> Plan {
        let memory = NonZeroU64::new(4 << 30).expect("some");
        plan(&[], &Request::new(memory, Machine::Q35)).expect("nothing is in its way")
    }

    #[test]
    fn a_guest_that_goes_by_its_plan() {
        let guest = GuestMemory::read(IOMEM).expect("a list");
        assert_eq!(check_guest(&planned(), &guest), []);
    }

    #[test]
    fn memory_used_where_none_is_planned_and_planned_where_none_is_used() {
        for (from, to, what) in [
            ("7ffdbfff", "8ffdbfff", "which is window"),
            ("7ffdbfff", "3ffdbfff", "of memory at 0x0-0x7fffffff the guest uses"),
            ("17fffffff", "fffffffffff", "unplanned"),
            ("100000000-17fffffff : System RAM", "", "the guest uses 0 bytes"),
        ] {
            let guest = GuestMemory::read(&IOMEM.replace(from, to)).expect("a list");
            let found = check_guest(&planned(), &guest);
            assert!(found.iter().any(|one| one.text.contains(what)), "{what}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_list_says_so() {
        let zeros: String = IOMEM.lines().map(|_| "00000000-00000000 : System RAM\n").collect();
        for (text, why) in [
            ("", "no System RAM"),
            ("nonsense", "line 1"),
            ("9-1 : System RAM", "line 1"),
            (zeros.as_str(), "as root"),
        ] {
            let error = GuestMemory::read(text).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
