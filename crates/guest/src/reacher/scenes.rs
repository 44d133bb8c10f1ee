//! The scenes, one after the other: each says what devices could do, and what the kernel counted.

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

use ringfence_addr::{Address, Alignment, Iova, PciAddress, Rights, Span, SpanSet};
use ringfence_device::{Hold, Root};
use ringfence_iommu::{Backing, Charge, Domain, Iommufd, IommufdDevice, Memory};

use crate::devices::{self, WRITTEN};
use crate::limits;
use crate::stage::{Guest, PAGE, Stage, hold, map, pages, told, unmap};

/// Where memory appears to the writer, again to the writer, and to the reader.
const BUS: Iova = Iova::new(0x1000_0000);
const AGAIN: Iova = Iova::new(0x2000_0000);
const READ: Iova = Iova::new(0x3000_0000);
/// Where nothing is ever mapped: interrupts.
const INTERRUPTS: Iova = Iova::new(0xfee0_0000);
/// What the reader is let find.
const MARK: [u8; 8] = 0x00c0_ffee_0bad_cafe_u64.to_le_bytes();
/// Mappings, and the pages they are of.
const MANY: u64 = 4_000;
/// More than VFIO's type 1 keeps (65,535).
const MOST: u64 = 66_000;
const MANY_OF: u64 = 512;
/// The first of them, whose time is told by itself.
const SOME: u64 = 1_000;

type Told = Result<(), String>;

fn say(name: &str, value: impl Display) {
    println!("{name}={value}");
}

fn at(iova: Iova, offset: u64) -> Result<Iova, String> {
    iova.checked_add(offset).ok_or_else(|| format!("{iova} + {offset:#x} wraps"))
}

pub(crate) fn play(scene: &str, writer: &str, reader: &str) -> Told {
    let parse = |word: &str| word.parse::<PciAddress>().map_err(|error| format!("{word}: {error}"));
    let (writer, reader) = (parse(writer)?, parse(reader)?);
    if scene == "direct" {
        return direct(writer);
    }
    let hold = hold(writer)?;
    if scene == "held" {
        return held(&hold, writer);
    }
    let mut stage = Stage::new(&hold, writer, reader)?;
    match scene {
        "within" => within(&mut stage),
        "rights" => rights(&mut stage),
        "unmapped" => unmapped(&mut stage),
        "aliases" => aliases(&mut stage),
        "limit" => limit(&mut stage),
        "edges" => edges(&mut stage),
        "split" => split(&mut stage),
        "fenced" => fenced(&mut stage),
        "closed" => closed(stage),
        "ways" => ways(&mut stage),
        "many" => many(&mut stage, MANY),
        "most" => many(&mut stage, MOST),
        "taken" => taken(&stage, writer),
        "killed" => killed(&mut stage),
        "nothing" => nothing(&mut stage),
        _ => Err(format!("there is no scene `{scene}`")),
    }
}

/// What is mapped can be reached, to its last byte, and nothing beside it.
fn within(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(8)?;
    map(&mut stage.for_writer, BUS, 4, &guest.memory, 2 * PAGE, Rights::READ_WRITE)?;
    map(&mut stage.for_reader, READ, 1, &guest.memory, 3 * PAGE, Rights::READ)?;
    say("first", stage.can_write(BUS, &guest, 2 * PAGE)?);
    say("last", stage.can_write(at(BUS, 4 * PAGE - 4)?, &guest, 6 * PAGE - 4)?);
    say("above", stage.can_write(at(BUS, 4 * PAGE)?, &guest, 6 * PAGE)?);
    say("below", stage.can_write(at(BUS, 0)?.checked_sub(PAGE).ok_or("no page")?, &guest, PAGE)?);
    say("another device's", stage.can_write(READ, &guest, 3 * PAGE)?);
    guest.put(3 * PAGE, &MARK)?;
    say("read", stage.found(READ)? == MARK);
    guest.put(4 * PAGE, &MARK)?;
    say("read above", stage.found(at(READ, PAGE)?)? == MARK);
    Ok(())
}

/// A device has the rights it was given, and those alone.
fn rights(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(2)?;
    for (name, rights) in [("r-", Rights::READ), ("-w", Rights::WRITE), ("rw", Rights::READ_WRITE)]
    {
        map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, rights)?;
        map(&mut stage.for_reader, READ, 1, &guest.memory, 0, rights)?;
        let writes = stage.can_write(BUS, &guest, 0)?;
        guest.put(0, &MARK)?;
        let reads = stage.found(READ)? == MARK;
        say(name, format!("writes {writes}, reads {reads}"));
        unmap(&mut stage.for_writer, BUS, 1)?;
        unmap(&mut stage.for_reader, READ, 1)?;
    }
    let none = map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, Rights::NONE);
    say("--", none.err().unwrap_or_default());
    Ok(())
}

/// Pieces go whole or not at all, and what is gone is not reached.
fn unmapped(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(4)?;
    for (place, offset) in [(BUS, 0), (at(BUS, 2 * PAGE)?, 2 * PAGE)] {
        map(&mut stage.for_writer, place, 2, &guest.memory, offset, Rights::READ_WRITE)?;
    }
    let is = |done: Option<u64>| done.map_or("refused".to_owned(), |bytes| bytes.to_string());
    say("a part", is(unmap(&mut stage.for_writer, at(BUS, PAGE)?, 1)?));
    say("across", is(unmap(&mut stage.for_writer, at(BUS, PAGE)?, 2)?));
    say("more than there is", is(unmap(&mut stage.for_writer, BUS, 5)?));
    say("before", stage.can_write(at(BUS, PAGE)?, &guest, PAGE)?);
    say("both", is(unmap(&mut stage.for_writer, BUS, 4)?));
    for page in 0..4 {
        say("after", stage.can_write(at(BUS, page * PAGE)?, &guest, page * PAGE)?);
    }
    say("again", is(unmap(&mut stage.for_writer, BUS, 4)?));
    map(&mut stage.for_writer, BUS, 1, &guest.memory, 3 * PAGE, Rights::READ_WRITE)?;
    say("mapped anew", stage.can_write(BUS, &guest, 3 * PAGE)?);
    let twice = map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, Rights::READ_WRITE);
    say("mapped twice", twice.err().unwrap_or_default());
    Ok(())
}

/// Memory is pinned and counted once, wherever it is mapped, and until the last of it is gone.
fn aliases(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(16)?;
    let before = limits::pinned()?;
    let count = |name: &str| {
        let pages = limits::pinned()?.saturating_sub(before) / PAGE;
        say(name, pages);
        Ok::<_, String>(())
    };
    map(&mut stage.for_writer, BUS, 16, &guest.memory, 0, Rights::READ_WRITE)?;
    count("once")?;
    map(&mut stage.for_writer, AGAIN, 16, &guest.memory, 0, Rights::READ_WRITE)?;
    count("twice")?;
    map(&mut stage.for_reader, READ, 4, &guest.memory, 8 * PAGE, Rights::READ)?;
    count("by another device")?;
    // The same file, given as other memory: the kernel does not know that it is the same.
    let file = guest.file.try_clone().map_err(|error| error.to_string())?;
    let other = Memory::of_file(file, 0, 16 << 12).map_err(|fault| told(fault.into()))?;
    map(&mut stage.for_reader, AGAIN, 16, &other, 0, Rights::READ)?;
    count("as other memory")?;
    unmap(&mut stage.for_reader, AGAIN, 16)?;
    unmap(&mut stage.for_writer, BUS, 16)?;
    count("without the first")?;
    say("first", stage.can_write(at(BUS, 8 * PAGE)?, &guest, 8 * PAGE)?);
    say("second", stage.can_write(at(AGAIN, 8 * PAGE)?, &guest, 8 * PAGE)?);
    say("third reads it", stage.found(READ)?[..4] == WRITTEN);
    unmap(&mut stage.for_writer, AGAIN, 16)?;
    count("a part is left")?;
    unmap(&mut stage.for_reader, READ, 4)?;
    count("none is left")
}

/// A user who may lock 16 pages maps 16 as often as he likes, and no other.
fn limit(stage: &mut Stage<'_>) -> Told {
    let (guest, other) = (Guest::new(16)?, Guest::new(1)?);
    limits::become_somebody(16 * PAGE)?;
    let rights = Rights::READ_WRITE;
    map(&mut stage.for_writer, BUS, 16, &guest.memory, 0, rights)?;
    map(&mut stage.for_writer, AGAIN, 16, &guest.memory, 0, rights)?;
    map(&mut stage.for_reader, READ, 16, &guest.memory, 0, Rights::READ)?;
    say("second", stage.can_write(at(AGAIN, 5 * PAGE)?, &guest, 5 * PAGE)?);
    let place = at(BUS, 16 * PAGE)?;
    let more = map(&mut stage.for_writer, place, 1, &other.memory, 0, rights);
    say("more", more.err().unwrap_or_default());
    say("more is reached", stage.can_write(place, &other, 0)?);
    unmap(&mut stage.for_writer, BUS, 16)?;
    unmap(&mut stage.for_writer, AGAIN, 16)?;
    unmap(&mut stage.for_reader, READ, 16)?;
    map(&mut stage.for_writer, place, 1, &other.memory, 0, rights)?;
    say("afterwards", stage.can_write(place, &other, 0)?);
    Ok(())
}

/// The last page there is, what wraps, and what is outside.
fn edges(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(2)?;
    let usable = stage.for_writer.usable().clone();
    say("usable", &usable);
    let last = usable.iter().next_back().ok_or("nothing can be mapped")?.last();
    let top = last.align_down(Alignment::PAGE_4K);
    map(&mut stage.for_writer, top, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    say("top", top);
    say("top before", stage.can_write(top, &guest, 0)?);
    let twice = map(&mut stage.for_writer, top, 1, &guest.memory, 0, Rights::READ_WRITE);
    say("top twice", twice.err().unwrap_or_default());
    say("top unmapped", unmap(&mut stage.for_writer, top, 1)?.unwrap_or(0));
    say("top after", stage.can_write(top, &guest, 0)?);
    map(&mut stage.for_writer, top, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    stage.for_writer.clear().map_err(told)?;
    say("top cleared", stage.can_write(top, &guest, 0)?);
    say("wrap", pages(Iova::new(!0xfff), 2).err().unwrap_or_default());
    let zero = Iova::new(0);
    map(&mut stage.for_writer, zero, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    say("address 0", stage.can_write(zero, &guest, 0)?);
    unmap(&mut stage.for_writer, zero, 1)?;
    let mut refused = |name: &str, place, count| {
        let refused = map(&mut stage.for_writer, place, count, &guest.memory, 0, Rights::READ);
        say(name, refused.err().unwrap_or_default());
    };
    refused("interrupts", INTERRUPTS, 1);
    refused("more memory than there is", BUS, 3);
    refused("askew", Iova::new(0x800), 1);
    let allowed: SpanSet<Iova> = [pages(BUS, 1)?].into_iter().collect();
    stage.for_writer.allow(&allowed).map_err(told)?;
    let beside = at(BUS, PAGE)?;
    let refused = map(&mut stage.for_writer, beside, 1, &guest.memory, 0, Rights::READ);
    say("beside what is allowed", refused.err().unwrap_or_default());
    map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    say("what is allowed", stage.can_write(BUS, &guest, 0)?);
    let none: SpanSet<Iova> =
        [Span::of(INTERRUPTS).aligned_out(Alignment::PAGE_4K)].into_iter().collect();
    let refused = stage.for_writer.allow(&none).map_err(told);
    say("what cannot be allowed", refused.err().unwrap_or_default());
    Ok(())
}

/// Memory that was given back while it was mapped: the process has other memory than the device.
fn split(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(1)?;
    map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    map(&mut stage.for_reader, READ, 1, &guest.memory, 0, Rights::READ)?;
    say("before", stage.can_write(BUS, &guest, 0)?);
    guest.memory.discard(0, PAGE).map_err(|fault| told(fault.into()))?;
    say("the process finds", u64::from_le_bytes(guest.bytes(0)?));
    say("the device writes", devices::write(&mut stage.writer, BUS)?);
    say("the process finds then", u64::from_le_bytes(guest.bytes(0)?));
    say("the other device finds what was written", stage.found(READ)?[..4] == WRITTEN);
    unmap(&mut stage.for_writer, BUS, 1)?;
    unmap(&mut stage.for_reader, READ, 1)?;
    map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    say("mapped anew", stage.can_write(BUS, &guest, 0)?);
    Ok(())
}

/// A device that was cut off reaches nothing, until it is let.
fn fenced(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(1)?;
    map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    say("before", stage.can_write(BUS, &guest, 0)?);
    stage.for_writer.fence().map_err(told)?;
    say("fenced", stage.can_write(BUS, &guest, 0)?);
    stage.for_writer.fence().map_err(told)?;
    stage.for_writer.unfence().map_err(told)?;
    say("let", stage.can_write(BUS, &guest, 0)?);
    stage.for_writer.fence().map_err(told)?;
    stage.for_writer.clear().map_err(told)?;
    stage.for_writer.unfence().map_err(told)?;
    say("let, with nothing mapped", stage.can_write(BUS, &guest, 0)?);
    map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    say("mapped", stage.can_write(BUS, &guest, 0)?);
    Ok(())
}

/// A domain that goes away takes what was mapped with it, though its device stays open.
fn closed(stage: Stage<'_>) -> Told {
    let guest = Guest::new(1)?;
    let before = limits::pinned()?;
    let Stage { iommufd, mut writer, mut for_writer, for_reader, .. } = stage;
    map(&mut for_writer, BUS, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    say("before", devices::write(&mut writer, BUS)?);
    drop(for_writer);
    say("after", devices::write(&mut writer, BUS)?);
    say("the memory is kept", iommufd.way(&guest.memory).is_some());
    drop((for_reader, iommufd));
    say("after everything", devices::write(&mut writer, BUS)?);
    say("pinned", limits::pinned()?.saturating_sub(before));
    Ok(())
}

/// How memory is given to the kernel.
fn ways(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(2)?;
    let own = Memory::new(2 << 12).map_err(|fault| told(fault.into()))?;
    map(&mut stage.for_writer, BUS, 1, &guest.memory, PAGE, Rights::READ_WRITE)?;
    map(&mut stage.for_writer, AGAIN, 1, &own, PAGE, Rights::READ_WRITE)?;
    say("a file's", format!("{:?}", stage.iommufd.way(&guest.memory)));
    say("its own", format!("{:?}", stage.iommufd.way(&own)));
    say("the file's is reached", stage.can_write(BUS, &guest, PAGE)?);
    say("its own is reached", devices::write(&mut stage.writer, AGAIN)?);
    // A file that is no memory's has an address, too.
    let path = "/proc/self/exe";
    let file = std::fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let other = Memory::of_file(file, 0, 1 << 12).map_err(|fault| told(fault.into()));
    let mapped =
        other.and_then(|memory| map(&mut stage.for_writer, READ, 1, &memory, 0, Rights::READ));
    say("a program's", mapped.err().unwrap_or("mapped".to_owned()));
    unmap(&mut stage.for_writer, BUS, 1)?;
    say("afterwards", format!("{:?}", stage.iommufd.way(&guest.memory)));
    Ok(())
}

/// So many mappings of a few pages.
fn many(stage: &mut Stage<'_>, count: u64) -> Told {
    let guest = Guest::new(MANY_OF)?;
    let before = limits::pinned()?;
    let started = Instant::now();
    let mut first = Duration::ZERO;
    for number in 0..count {
        if number == SOME {
            first = started.elapsed() / 1_000;
        }
        let place = at(BUS, number * PAGE)?;
        map(
            &mut stage.for_writer,
            place,
            1,
            &guest.memory,
            number % MANY_OF * PAGE,
            Rights::READ_WRITE,
        )?;
    }
    let mapping = started.elapsed();
    say(
        "last",
        stage.can_write(at(BUS, (count - 1) * PAGE)?, &guest, (count - 1) % MANY_OF * PAGE)?,
    );
    say("pinned pages", limits::pinned()?.saturating_sub(before) / PAGE);
    let started = Instant::now();
    for number in 0..count {
        let unmapped = unmap(&mut stage.for_writer, at(BUS, number * PAGE)?, 1)?;
        if unmapped != Some(PAGE) {
            return Err(format!("mapping {number}: {unmapped:?} were unmapped"));
        }
    }
    let each = |all: Duration| all.as_micros() / u128::from(count);
    say(
        "microseconds",
        format!(
            "{} to map at first, {} on the whole, {} to unmap",
            first.as_micros(),
            each(mapping),
            each(started.elapsed())
        ),
    );
    say("first afterwards", stage.can_write(BUS, &guest, 0)?);
    Ok(())
}

/// What is held cannot be had a second time.
fn taken(stage: &Stage<'_>, function: PciAddress) -> Told {
    let again = IommufdDevice::open(Path::new("/"), function, &stage.iommufd);
    say("opened again", again.err().map_or("it was".to_owned(), |fault| told(fault.into())));
    Ok(())
}

/// Maps, says so, and waits for its end.
fn killed(stage: &mut Stage<'_>) -> Told {
    let guest = Guest::new(1)?;
    map(&mut stage.for_writer, BUS, 1, &guest.memory, 0, Rights::READ_WRITE)?;
    say("reached", stage.can_write(BUS, &guest, 0)?);
    std::fs::write("/tmp/mapped", "").map_err(|error| error.to_string())?;
    std::thread::sleep(Duration::from_secs(600));
    Err("nobody ended it".to_owned())
}

/// What is reached by devices for which nobody mapped anything.
fn nothing(stage: &mut Stage<'_>) -> Told {
    say("reached", devices::write(&mut stage.writer, BUS)?);
    Ok(())
}

/// What is reached by a device that is held, and nothing more.
fn held(hold: &Hold, function: PciAddress) -> Told {
    let mut device = hold.open_function(&Root::default(), function).map_err(told)?;
    devices::wake(&mut device).map_err(|fault| told(fault.into()))?;
    say("reached", devices::write(&mut device, BUS)?);
    Ok(())
}

/// Without a claim: opened and bound here, and counted for this process.
fn direct(function: PciAddress) -> Told {
    let root = Path::new("/");
    let before = limits::pinned()?;
    let iommufd = Iommufd::open(root, Charge::Process).map_err(|fault| told(fault.into()))?;
    let device =
        IommufdDevice::open(root, function, &iommufd).map_err(|fault| told(fault.into()))?;
    let mut domain = iommufd.domain(vec![device]).map_err(told)?;
    domain.set_huge_pages(false).map_err(|fault| told(fault.into()))?;
    let guest = Guest::new(4)?;
    map(&mut domain, BUS, 4, &guest.memory, 0, Rights::READ_WRITE)?;
    say("pinned pages", limits::pinned()?.saturating_sub(before) / PAGE);
    say("unmapped", unmap(&mut domain, BUS, 4)?.unwrap_or(0));
    say("pinned pages afterwards", limits::pinned()?.saturating_sub(before) / PAGE);
    let none = iommufd.domain(Vec::new()).map(drop).map_err(told);
    say("without a device", none.err().unwrap_or_default());
    let missing = IommufdDevice::open(root, PciAddress::from_requester_id(0, 0xf8), &iommufd);
    say("no such function", missing.err().map_or("it is".to_owned(), |fault| told(fault.into())));
    limits::become_somebody(0)?;
    let open = Iommufd::open(root, Charge::Process);
    say("as somebody", open.err().map_or("opened".to_owned(), |fault| told(fault.into())));
    Ok(())
}
