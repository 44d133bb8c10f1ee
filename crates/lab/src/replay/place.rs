//! Which functions a table's words are about.

use ringfence_tables::{Content, ScopeKind, Structure, Table};

/// A function that a table names, by the way from a bus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) bus: u8,
    /// Device and function numbers: bridges, and the function itself.
    pub(super) hops: Vec<[u8; 2]>,
    /// It is a bridge itself.
    pub(super) is_bridge: bool,
}

/// The functions named by what is replayed of a table. Other segments than 0 no machine here has.
pub(super) fn places(table: &Table) -> Vec<Place> {
    let mut places = match &table.content {
        Content::Dmar(dmar) => of_dmar(&dmar.structures),
        Content::Ivrs(ivrs) => {
            let named = ivrs.ivmds().filter_map(|(_, ivmd)| ivmd.requesters());
            // Of a range, its first; the machine has others of the range by itself.
            named.map(|(first, _)| of_requester(first)).collect()
        }
        _ => Vec::new(),
    };
    places.sort();
    places.dedup();
    places
}

/// Whether a structure is replayed. Units are QEMU's own, and what is said of real ones goes with them.
pub(super) fn is_replayed(structure: &Structure) -> bool {
    matches!(structure, Structure::Rmrr(_) | Structure::Atsr(_) | Structure::Satc(_))
}

fn of_dmar(structures: &[Structure]) -> Vec<Place> {
    let replayed = structures.iter().filter(|it| is_replayed(it));
    let scopes = replayed.filter_map(Structure::scopes).filter(|(segment, ..)| *segment == 0);
    scopes
        .flat_map(|(_, scopes, _)| &scopes.list)
        .filter(|scope| matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::Bridge))
        .filter(|scope| !scope.path.is_empty())
        .map(|scope| Place {
            bus: scope.start_bus,
            hops: scope.path.clone(),
            is_bridge: scope.kind == ScopeKind::Bridge,
        })
        .collect()
}

fn of_requester(id: u16) -> Place {
    let [bus, within] = id.to_be_bytes();
    Place { bus, hops: vec![[within >> 3, within & 7]], is_bridge: false }
}
