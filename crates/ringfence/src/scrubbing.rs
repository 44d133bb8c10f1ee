//! Scrubbing a claimed function, and what is told of it: the same whether the host service does it or
//! the verb.

use ringfence_addr::{Address, Hpa, PciAddress, Span};
use ringfence_device::scrub::{Copied, Graphics, Scrub, Scrubbed, Step};
use ringfence_device::{Bases, Manager};
use ringfence_host::graphics::Platform;
use ringfence_host::{Fact, Host};
use ringfence_refusal::Failure;
use serde::{Deserialize, Serialize};

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Extent {
    /// Registers are read, and nothing is written.
    Look,
    /// The memory is cleared.
    Clear,
    /// What firmware left there is copied before.
    Copy,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) address: String,
    /// The claim it is in.
    pub(crate) claim: String,
    /// Its design: `Skylake`.
    pub(crate) design: String,
    pub(crate) memory: Ends,
    pub(crate) page_table: Option<Ends>,
    pub(crate) firmware: Option<Ends>,
    pub(crate) op_region: Option<String>,
    pub(crate) kept: Vec<Left>,
    pub(crate) steps: Vec<String>,
    /// What is clear now; nothing of a rehearsal.
    pub(crate) cleared: Vec<Ends>,
    pub(crate) copied: Vec<Copy>,
}

/// A span as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ends {
    pub(crate) first: String,
    pub(crate) last: String,
}

/// What is left alone, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    #[serde(flatten)]
    pub(crate) ends: Ends,
    pub(crate) why: String,
}

/// What firmware left at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copy {
    #[serde(flatten)]
    pub(crate) ends: Ends,
    /// The bytes, two digits each, until they are written to a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<String>,
    /// The file they are in.
    #[serde(default)]
    pub(crate) file: Option<String>,
}

impl<A: Address> From<Span<A>> for Ends {
    fn from(span: Span<A>) -> Self {
        Self { first: span.first().to_string(), last: span.last().to_string() }
    }
}

impl std::fmt::Display for Ends {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

/// Opens a claimed function, reads what it says of its memory, and clears that if it is to be.
pub(crate) fn scrub(
    manager: &Manager<'_>,
    function: PciAddress,
    extent: Extent,
    observer: &mut dyn FnMut(&Step),
) -> Result<Told, Failure> {
    let hold = manager.hold(function)?;
    let mut opened = hold.open_function(manager.root(), function)?;
    let graphics = Graphics::read(&mut opened)?;
    let scrub = Scrub::new(graphics, extent == Extent::Copy);
    let done = match extent {
        Extent::Look => Scrubbed::default(),
        Extent::Clear | Extent::Copy => scrub.carry_out(&mut opened, observer)?,
    };
    Ok(Told::new(&scrub, &hold.claim().name, &done))
}

impl Told {
    fn new(scrub: &Scrub, claim: &str, done: &Scrubbed) -> Self {
        let graphics = &scrub.graphics;
        let left = |kept: &ringfence_device::scrub::Kept| Left {
            ends: kept.span.into(),
            why: kept.why.clone(),
        };
        Self {
            address: graphics.function.to_string(),
            claim: claim.to_owned(),
            design: graphics.platform.name.to_owned(),
            memory: graphics.data.into(),
            page_table: graphics.page_table.map(Ends::from),
            firmware: graphics.firmware.map(Ends::from),
            op_region: graphics.op_region.map(|address| address.to_string()),
            kept: graphics.kept.iter().map(left).collect(),
            steps: scrub.steps.iter().map(ToString::to_string).collect(),
            cleared: done.cleared.iter().map(Ends::from).collect(),
            copied: done.copied.iter().map(Copy::from).collect(),
        }
    }
}

impl Told {
    /// Where its memory is, as numbers again; `None` if they are none.
    pub(crate) fn bases(&self) -> Option<Bases> {
        let some = |ends: &Option<Ends>| ends.as_ref().map_or(Some(None), |it| it.span().map(Some));
        let op_region = self.op_region.as_ref().map(|text| text.parse().ok());
        Some(Bases {
            data: self.memory.span()?,
            page_table: some(&self.page_table)?,
            firmware: some(&self.firmware)?,
            op_region: op_region.map_or(Some(None), |it| it.map(Some))?,
        })
    }
}

impl Ends {
    fn span(&self) -> Option<Span<Hpa>> {
        Span::new(self.first.parse().ok()?, self.last.parse().ok()?)
    }
}

impl From<&Copied> for Copy {
    fn from(copied: &Copied) -> Self {
        use std::fmt::Write as _;
        let mut bytes = String::with_capacity(2 * copied.bytes.len());
        for byte in &copied.bytes {
            // Infallible: a String grows.
            _ = write!(bytes, "{byte:02x}");
        }
        Self { ends: copied.span.into(), bytes: Some(bytes), file: None }
    }
}

/// Which of `functions` are graphics whose memory could be scrubbed.
pub(crate) fn of_host(host: &Host, functions: &[PciAddress]) -> Vec<PciAddress> {
    let is_graphics = |address: &&PciAddress| {
        let Some(function) = host.function(**address) else { return false };
        let is_display = function.identity.class.known().is_some_and(|class| class.base == 3);
        let (vendor, device) = (&function.identity.vendor, &function.identity.device);
        let known = device.known().is_some_and(|device| Platform::of_device(*device).is_some());
        is_display && *vendor == Fact::Known(0x8086) && known
    };
    functions.iter().filter(is_graphics).copied().collect()
}
