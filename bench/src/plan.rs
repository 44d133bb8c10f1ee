//! How many plans a second, and what other placers lose on real machines beside ours.
//!
//! The speed is of one thread, for a host with graphics' region and a USB controller's. The losses are
//! counted on the tables of real machines, where they are: libxl's rule and OpenVMM's are written down
//! here again ([`rules`]) and asked the same questions.

mod losses;
mod rules;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::num::NonZeroU64;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use ringfence_addr::{Hpa, Span};
use ringfence_host::{Fact, HostMemory, IommuMaker, Owners, Region, RegionKind, Role};
use ringfence_plan::check::check;
use ringfence_plan::{Assigned, Machine, Request, plan};

use crate::report::Row;
use crate::settings::Settings;

/// Plans a second that are aimed at.
const AIM: f64 = 10_000.0;
const GIB: u64 = 1 << 30;

pub(crate) fn run(settings: &Settings) -> Result<Vec<Row>> {
    let hosts = [typical()?];
    let requests: Vec<_> =
        [4, 8, 16].into_iter().map(|gib| request(gib * GIB)).collect::<Result<_>>()?;
    for request in &requests {
        let plan = plan(&hosts, request).ok().context("the typical host is refused")?;
        ensure!(check(&hosts, request, &plan).is_empty(), "the plan does not hold");
    }
    let count = if settings.quick { 1_000 } else { 10_000 };
    let (mut planned, mut checked) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        settings.stop_if_asked()?;
        planned.push(per_second(count, |place| {
            black_box(plan(&hosts, &requests[place % requests.len()]).is_ok());
        }));
        checked.push(per_second(count, |place| {
            let request = &requests[place % requests.len()];
            if let Ok(plan) = plan(&hosts, request) {
                black_box(check(&hosts, request, &plan).is_empty());
            }
        }));
    }
    losses::print()?;
    let aim = vec![AIM; planned.len()];
    let row = |name: &str, ours: &[f64], goal| {
        Row::new(format!("plan/{name}"), "plans/s", ours, ("the aim", &aim), goal)
    };
    Ok(vec![row("typical", &planned, Some(1.0)), row("typical-checked", &checked, None)])
}

fn per_second(count: u32, mut run: impl FnMut(usize)) -> f64 {
    let start = Instant::now();
    for place in 0..count as usize {
        run(place);
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// A laptop's: 64 MiB of graphics' own below 2 GiB with its page table, and a buffer of USB's.
fn typical() -> Result<HostMemory> {
    let region = |first, last, kind, owner: &str, role| -> Result<Region> {
        Ok(Region {
            span: Span::new(Hpa::new(first), Hpa::new(last)).context("a span")?,
            kind,
            owners: match owner {
                "" => Owners::All,
                owner => Owners::These([owner.parse()?].into()),
            },
            shared: BTreeSet::new(),
            role,
            sources: vec!["DMAR+0x58".to_owned()],
        })
    };
    let (graphics, usb) = (Role::Graphics, Role::Usb);
    Ok(HostMemory {
        regions: vec![
            region(0x7a30_0000, 0x7a31_ffff, RegionKind::Relaxable, "0000:00:14.0", usb)?,
            region(0x7b80_0000, 0x7fff_ffff, RegionKind::Relaxable, "0000:00:02.0", graphics)?,
            region(0xfee0_0000, 0xfeef_ffff, RegionKind::Msi, "", Role::Other)?,
        ],
        address_bits: Fact::Known(39),
        iommu: Fact::Known(IommuMaker::Intel),
        ..HostMemory::default()
    })
}

fn request(memory: u64) -> Result<Request> {
    let memory = NonZeroU64::new(memory).context("memory")?;
    let mut request = Request::new(memory, Machine::Q35);
    for address in ["0000:00:02.0", "0000:00:14.0"] {
        request.devices.push(Assigned { address: address.parse()?, policy: None, guest: None });
    }
    Ok(request)
}
