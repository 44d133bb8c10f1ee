//! From the consoles to PCI functions: serial lines, framebuffers, and the card firmware booted on.
//!
//! That a card was the one firmware used (`boot_vga`) is so for ever. It counts only while a virtual
//! console draws through it.

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;

use super::Use;
use crate::refusals::CONSOLE;
use crate::root::{Root, entries, read, whole_address};

pub(super) fn uses(root: &Root) -> Result<Vec<Use>, Fault> {
    let mut uses = Vec::new();
    let active = read(&root.join("sys/class/tty/console/active"))?.unwrap_or_default();
    for name in active.split_whitespace().filter(|name| !name.contains('/')) {
        let functions = root.functions_above(&root.join("sys/class/tty").join(name))?;
        uses.push(Use { code: &CONSOLE, what: format!("the console {name}"), functions });
    }
    let Some(drawn) = drawn_console(root)? else { return Ok(uses) };
    let graphics = root.join("sys/class/graphics");
    for name in entries(&graphics)?.iter().filter(|name| name.starts_with("fb")) {
        let functions = root.functions_above(&graphics.join(name))?;
        uses.push(Use { code: &CONSOLE, what: format!("{drawn}, drawn on {name}"), functions });
    }
    let functions = boot_card(root)?;
    let what = format!("{drawn}, on the card that firmware booted with");
    uses.push(Use { code: &CONSOLE, what, functions });
    Ok(uses)
}

/// What virtual consoles are drawn by now, if by anything that shows.
fn drawn_console(root: &Root) -> Result<Option<String>, Fault> {
    let folder = root.join("sys/class/vtconsole");
    for name in entries(&folder)? {
        let is_bound = read(&folder.join(&name).join("bind"))?.as_deref() == Some("1");
        let by = read(&folder.join(&name).join("name"))?.unwrap_or_default();
        if is_bound && !by.contains("dummy") {
            return Ok(Some(format!("the virtual console {name} ({by})")));
        }
    }
    Ok(None)
}

fn boot_card(root: &Root) -> Result<Vec<PciAddress>, Fault> {
    let folder = root.join("sys/bus/pci/devices");
    let mut cards = Vec::new();
    for name in entries(&folder)? {
        if read(&folder.join(&name).join("boot_vga"))?.as_deref() == Some("1") {
            cards.extend(whole_address(&name));
        }
    }
    Ok(cards)
}
