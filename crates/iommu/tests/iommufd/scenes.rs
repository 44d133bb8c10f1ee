//! What each scene of `reacher`'s must find. A fact that ends with `…` may go on.

use ringfence_lab::IommuKind;

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// It takes memory by its address in a process.
    V6_12,
    /// It takes memory files, too.
    V7,
}

impl Kernel {
    pub(crate) fn series(self) -> &'static str {
        match self {
            Self::V6_12 => "6.12-iommufd",
            Self::V7 => "7-iommufd",
        }
    }
}

/// One line that a scene prints.
pub(crate) enum Fact {
    /// On every kernel.
    Always(&'static str),
    /// On the older one, and on the newer.
    Older(&'static str, &'static str),
    /// On the older one behind VT-d, and on all others.
    OlderIntel(&'static str, &'static str),
}

use Fact::{Always, Older, OlderIntel};

impl Fact {
    pub(crate) fn on(&self, (kernel, iommu): (Kernel, IommuKind)) -> &'static str {
        let is_older = kernel == Kernel::V6_12;
        match self {
            Always(fact) => fact,
            Older(fact, _) if is_older => fact,
            OlderIntel(fact, _) if is_older && iommu == IommuKind::Intel => fact,
            Older(_, fact) | OlderIntel(_, fact) => fact,
        }
    }
}

pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) facts: &'static [Fact],
}

const fn scene(name: &'static str, facts: &'static [Fact]) -> Scene {
    Scene { name, facts }
}

/// What there is no time for on every change: more mappings than type 1 has entries.
pub(crate) const LONG: Scene = scene("most", MANY);

const MANY: &[Fact] = &[
    Always("last=true"),
    Always("pinned pages=512"),
    Always("microseconds=…"),
    Always("first afterwards=false"),
];

pub(crate) const SCENES: &[Scene] = &[
    scene(
        "within",
        &[
            Always("first=true"),
            Always("last=true"),
            Always("above=false"),
            Always("below=false"),
            Always("another device's=false"),
            Always("read=true"),
            Always("read above=false"),
        ],
    ),
    scene(
        "rights",
        &[
            Always("r-=writes false, reads true"),
            // The kernel lets it: see `IommufdDomain`.
            OlderIntel("-w=writes true, reads true", "-w=writes true, reads false"),
            Always("rw=writes true, reads true"),
            Always("--=RF0907 …"),
        ],
    ),
    scene(
        "unmapped",
        &[
            Always("a part=refused"),
            Always("across=refused"),
            Always("more than there is=refused"),
            Always("before=true"),
            Always("both=16384"),
            Always("after=false"),
            Always("after=false"),
            Always("after=false"),
            Always("after=false"),
            Always("again=refused"),
            Always("mapped anew=true"),
            Always("mapped twice=RF0902 …"),
        ],
    ),
    scene(
        "aliases",
        &[
            Always("once=16"),
            Always("twice=16"),
            Always("by another device=16"),
            Always("as other memory=32"),
            Always("without the first=16"),
            Always("first=false"),
            Always("second=true"),
            Always("third reads it=true"),
            Always("a part is left=4"),
            Always("none is left=0"),
        ],
    ),
    scene(
        "limit",
        &[
            Always("second=true"),
            Always(
                "more=cannot map for devices 0x10010000-0x10010fff (or the limit on locked memory…",
            ),
            Always("more is reached=false"),
            Always("afterwards=true"),
        ],
    ),
    scene(
        "edges",
        &[
            Always("usable=0x0-0xfedfffff, 0xfef00000-…"),
            Always("top=0x…"),
            Always("top before=true"),
            Always("top twice=RF0902 …"),
            Always("top unmapped=4096"),
            Always("top after=false"),
            Always("top cleared=false"),
            Always("wrap=0xfffffffffffff000 and 2 pages wrap"),
            Always("address 0=true"),
            Always("interrupts=RF0901 …"),
            Always("more memory than there is=RF0910 …"),
            Always("askew=RF0904 …"),
            Always("beside what is allowed=RF0901 …"),
            Always("what is allowed=true"),
            Always("what cannot be allowed=RF0901 …"),
        ],
    ),
    scene(
        "split",
        &[
            Always("before=true"),
            Always("the process finds=0"),
            Always("the device writes=true"),
            Always("the process finds then=0"),
            Always("the other device finds what was written=true"),
            Always("mapped anew=true"),
        ],
    ),
    scene(
        "fenced",
        &[
            Always("before=true"),
            Always("fenced=false"),
            Always("let=true"),
            Always("let, with nothing mapped=false"),
            Always("mapped=true"),
        ],
    ),
    scene(
        "closed",
        &[
            Always("before=true"),
            Always("after=false"),
            Always("the memory is kept=false"),
            Always("after everything=false"),
            Always("pinned=0"),
        ],
    ),
    scene(
        "ways",
        &[
            Older("a file's=Some(Address)", "a file's=Some(File)"),
            Always("its own=Some(Address)"),
            Always("the file's is reached=true"),
            Always("its own is reached=true"),
            Always("a program's=…"),
            Always("afterwards=None"),
        ],
    ),
    scene("many", MANY),
    scene("held", &[Always("reached=false")]),
    scene("taken", &[Always("opened again=cannot bind to an iommufd 0000:00:02.0: …")]),
    scene("killed", &[Always("reached=true")]),
    scene("nothing", &[Always("reached=false")]),
    scene(
        "direct",
        &[
            Always("pinned pages=4"),
            Always("unmapped=16384"),
            Always("pinned pages afterwards=0"),
            Always("without a device=RF0914 …"),
            Always("no such function=cannot find VFIO's device in …"),
            Always("as somebody=cannot count memory by process in /dev/iommu: …"),
        ],
    ),
];
