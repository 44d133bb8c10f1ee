//! Reading a tree of tables as an IOMMU does.

use ringfence_addr::{Address, Hpa, Iova, Rights, Span};

use super::format::{Entry, Format};
use super::level::Level;
use super::memory::Tables;

/// A page of any size: what one entry translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The addresses a device uses.
    pub pages: Span<Iova>,
    /// Where the first of them leads.
    pub frame: Hpa,
    /// What a device may do there.
    pub rights: Rights,
}

impl Leaf {
    /// Where `iova` leads, or `None` if it is not in this page.
    #[inline]
    pub fn address(&self, iova: Iova) -> Option<Hpa> {
        self.frame.checked_add(self.pages.offset_of(iova)?)
    }

    /// What of it is in `span`, or `None` if nothing is.
    pub(crate) fn within(&self, span: Span<Iova>) -> Option<Self> {
        let pages = self.pages.intersection(&span)?;
        Some(Self { pages, frame: self.address(pages.first())?, rights: self.rights })
    }
}

/// What is at an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Leaf(Leaf),
    /// Nothing is translated in all of these.
    Nothing(Span<Iova>),
}

/// Goes from the topmost table down to what translates `iova`.
///
/// Every entry is read once, and what it leads to as it was when it was stored; so while another
/// thread writes, each entry on the way is found as it was before a change or as it is after it.
#[inline]
pub(crate) fn find<F: Format, T: Tables + ?Sized>(
    format: &F,
    tables: &T,
    root: Hpa,
    iova: Iova,
) -> Found {
    let shape = format.shape();
    if iova > shape.input.last() {
        let above = shape.input.last().checked_add(1).unwrap_or(iova);
        return Found::Nothing(Span::new(above, Iova::LAST).unwrap_or(Span::of(iova)));
    }
    // The number of levels is known to the compiler in each of these, and with it every shift.
    match shape.top {
        Level::ONE => descend::<1, F, T>(format, tables, root, iova),
        Level::TWO => descend::<2, F, T>(format, tables, root, iova),
        Level::THREE => descend::<3, F, T>(format, tables, root, iova),
        Level::FOUR => descend::<4, F, T>(format, tables, root, iova),
        Level::FIVE => descend::<5, F, T>(format, tables, root, iova),
        _ => descend::<6, F, T>(format, tables, root, iova),
    }
}

#[inline]
fn descend<const TOP: u8, F: Format, T: Tables + ?Sized>(
    format: &F,
    tables: &T,
    root: Hpa,
    iova: Iova,
) -> Found {
    let (mut table, mut common) = (root, u64::MAX);
    macro_rules! step {
        ($($level:ident)*) => { $(
            if TOP >= Level::$level.number() {
                let entry = tables.load(table, Level::$level.index(iova));
                common &= entry;
                match format.decode(entry, Level::$level) {
                    Entry::Table(next) => table = next,
                    Entry::Leaf(frame) => {
                        let pages = Level::$level.around(iova);
                        return Found::Leaf(Leaf { pages, frame, rights: format.rights(common) });
                    }
                    Entry::Absent => return Found::Nothing(Level::$level.around(iova)),
                }
            }
        )* };
    }
    step!(SIX FIVE FOUR THREE TWO ONE);
    // An entry of the lowest level leads to no table, whatever the format.
    let _ = table;
    Found::Nothing(Level::ONE.around(iova))
}

/// The lowest table on the way to `iova`, if there is one.
#[inline]
pub(crate) fn lowest_table<F: Format, T: Tables + ?Sized>(
    format: &F,
    tables: &T,
    root: Hpa,
    iova: Iova,
) -> Option<Hpa> {
    let top = format.shape().top;
    let mut table = root;
    for level in [Level::SIX, Level::FIVE, Level::FOUR, Level::THREE, Level::TWO] {
        if level <= top {
            match format.decode(tables.load(table, level.index(iova)), level) {
                Entry::Table(next) => table = next,
                Entry::Leaf(_) | Entry::Absent => return None,
            }
        }
    }
    Some(table)
}

/// The page that translates `iova`.
#[inline]
pub(crate) fn lookup<F: Format, T: Tables + ?Sized>(
    format: &F,
    tables: &T,
    root: Hpa,
    iova: Iova,
) -> Option<Leaf> {
    match find(format, tables, root, iova) {
        Found::Leaf(leaf) => Some(leaf),
        Found::Nothing(_) => None,
    }
}

/// All pages that have addresses in a span, ascending, each whole.
#[derive(Debug)]
pub struct Leaves<'a, F, T: ?Sized> {
    pub(crate) format: &'a F,
    pub(crate) tables: &'a T,
    pub(crate) root: Hpa,
    pub(crate) rest: Option<Span<Iova>>,
}

impl<F: Format, T: Tables + ?Sized> Iterator for Leaves<'_, F, T> {
    type Item = Leaf;

    fn next(&mut self) -> Option<Leaf> {
        loop {
            let rest = self.rest?;
            let found = find(self.format, self.tables, self.root, rest.first());
            let (Found::Leaf(Leaf { pages, .. }) | Found::Nothing(pages)) = found;
            let next = pages.last().checked_add(1);
            self.rest = next.and_then(|next| Span::new(next, rest.last()));
            if let Found::Leaf(leaf) = found {
                return Some(leaf);
            }
        }
    }
}
