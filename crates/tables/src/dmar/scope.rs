//! Device scopes: which devices a structure of a DMAR is about.
//!
//! VT-d specification 4.1, section 8.3.1: a scope names a bus to start from and a path of device and
//! function numbers, one per bridge and a last one for the device.

use crate::dmar::ScopePath;
use crate::wire::{Wire, split};

/// Bytes of a scope without its path.
pub const SCOPE_BYTES: usize = 6;

/// The scopes of a structure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// In their order.
    pub list: Vec<Scope>,
    /// What follows and is no scope: nothing, unless the table is broken.
    pub rest: Vec<u8>,
}

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What it names.
    pub kind: ScopeKind,
    /// For SATC structures, whether PASID is needed; elsewhere reserved.
    pub flags: u8,
    /// Reserved.
    pub reserved: u8,
    /// Which I/O APIC, HPET or ANDD it is.
    pub enumeration: u8,
    /// The bus the path starts from.
    pub start_bus: u8,
    /// Device and function numbers, down from there.
    pub path: Vec<[u8; 2]>,
    /// A last byte that is no whole pair.
    pub odd: Option<u8>,
}

/// What a scope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeKind {
    /// 1: one function.
    Endpoint,
    /// 2: a bridge and everything behind it.
    Bridge,
    /// 3: an I/O APIC.
    IoApic,
    /// 4: an HPET that sends MSIs.
    Hpet,
    /// 5: a device of the ACPI name space, named by an ANDD.
    Namespace,
    /// Another number.
    Unknown(u8),
}

impl ScopeKind {
    /// The number in the table.
    pub fn number(self) -> u8 {
        match self {
            Self::Endpoint => 1,
            Self::Bridge => 2,
            Self::IoApic => 3,
            Self::Hpet => 4,
            Self::Namespace => 5,
            Self::Unknown(number) => number,
        }
    }
}

impl From<u8> for ScopeKind {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Endpoint,
            2 => Self::Bridge,
            3 => Self::IoApic,
            4 => Self::Hpet,
            5 => Self::Namespace,
            other => Self::Unknown(other),
        }
    }
}

impl Scope {
    /// A scope for the function or bridge at the end of a path.
    pub fn new(kind: ScopeKind, start_bus: u8, path: &[[u8; 2]]) -> Self {
        let path = path.to_vec();
        Self { kind, flags: 0, reserved: 0, enumeration: 0, start_bus, path, odd: None }
    }

    /// Where the scope leads in a segment; none for an empty path.
    pub fn path(&self, segment: u16) -> Option<ScopePath> {
        let hops = (!self.path.is_empty()).then(|| self.path.clone())?;
        Some(ScopePath { segment, start_bus: self.start_bus, hops })
    }
}

impl Wire for Scope {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let length = usize::from(*bytes.get(1)?);
        if length < SCOPE_BYTES {
            return None;
        }
        let whole = split(bytes, length)?;
        let (pairs, odd) = whole[SCOPE_BYTES..].as_chunks::<2>();
        Some(Self {
            kind: whole[0].into(),
            flags: whole[2],
            reserved: whole[3],
            enumeration: whole[4],
            start_bus: whole[5],
            path: pairs.to_vec(),
            odd: odd.first().copied(),
        })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        let length = SCOPE_BYTES + 2 * self.path.len() + usize::from(self.odd.is_some());
        let length = u8::try_from(length).expect("a path has at most 124 bridges");
        bytes.extend([self.kind.number(), length, self.flags, self.reserved]);
        bytes.extend([self.enumeration, self.start_bus]);
        bytes.extend(self.path.as_flattened());
        bytes.extend(self.odd);
    }
}

impl Wire for Scopes {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut scopes = Self::default();
        while let Some(scope) = Scope::take(bytes) {
            scopes.list.push(scope);
        }
        scopes.rest = Wire::take(bytes)?;
        Some(scopes)
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        for scope in &self.list {
            scope.put(bytes);
        }
        self.rest.put(bytes);
    }
}
