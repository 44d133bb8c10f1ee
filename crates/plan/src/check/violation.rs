//! What a check can find.

use std::fmt;

use ringfence_addr::{Gpa, Span};

/// One thing that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was broken.
    pub rule: Rule,
    /// Where, if it is somewhere.
    pub span: Option<Span<Gpa>>,
    /// What was found, with its numbers, in a sentence.
    pub text: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, span: impl Into<Option<Span<Gpa>>>, text: String) -> Self {
        Self { rule, span: span.into(), text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.rule, self.text)
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What every plan keeps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in JSON and tables.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    /// The plan is for the machine that was asked for.
    Machine = "machine",
    /// Entries lie lowest first, without overlaps.
    Order = "order",
    /// Entries are whole pages of 4 KiB.
    Pages = "pages",
    /// Memory lies under RAM and what is kept off, and under nothing else.
    Backing = "backing",
    /// The guest can use as much as was asked for.
    TooLittle = "too-little",
    /// No more was added than what is kept off makes necessary.
    TooMuch = "too-much",
    /// The VMM is told to give as much as lies in the map.
    MemoryBytes = "memory-bytes",
    /// No RAM, window or place for more memory lies on a region of the VM's devices.
    Covered = "covered",
    /// No memory lies where nothing can be mapped.
    Unmappable = "unmappable",
    /// Where identity was asked for, memory of the VM's lies and the guest keeps off.
    Identity = "identity",
    /// The guest is told to keep off what it must keep off, and off nothing else.
    KeepOff = "keep-off",
    /// What the plan says became of a region is what its map says.
    Settlements = "settlements",
    /// Everything lies below what guest and IOMMUs can address.
    Width = "width",
    /// Every piece of memory lies in one range that can be mapped.
    Range = "range",
    /// The VMM's own rules come out at this map.
    Expressible = "expressible",
    /// Memory begins at 0: no PC starts otherwise.
    FirstMebibyte = "first-mebibyte",
    /// No memory lies on what the machine has fixed.
    Platform = "platform",
    /// No memory lies in HyperTransport's hole.
    HyperTransport = "hypertransport",
    /// No device has a region that the kernel does not give up.
    Direct = "direct",
    /// No region is shared with devices outside the VM.
    Shared = "shared",
    /// There is one integrated graphics device at most.
    TwoGraphics = "two-graphics",
    /// What was to be refused was not planned.
    Refused = "refused",
    /// The machine can carry out what was asked to be done about a region.
    Carried = "carried",
    /// Memory can be plugged where the VMM will plug it.
    Hotplug = "hotplug",
    /// A graphics device is shown a size of its own memory if that was asked for.
    Stolen = "stolen",
    /// The guest's IOMMU is told of what its devices reach by themselves, and of nothing else.
    GuestIommu = "guest-iommu",
    /// Windows for backends are in the guest's memory, each as large as asked for, and apart.
    Windows = "windows",
    /// What is not known is said.
    Unsaid = "unsaid",
    /// A running guest uses as memory what its plan gives it, and nothing else.
    Guest = "guest",
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
