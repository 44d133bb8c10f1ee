//! Device trees, read back: Devicetree Specification 0.4, chapter 5.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use ringfence_host::{RegionKind, Role};
use ringfence_plan::check::{Rule, check};
use ringfence_plan::emit::{Consumer, Surroundings, emit};
use ringfence_plan::{Machine, Plan, Policy, Viommu, WindowWish, refusals};

use crate::support::*;

/// The properties of every node, by its path.
type Nodes = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

const HEAD: u32 = 0xd00d_feed;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn text(bytes: &[u8], at: usize) -> String {
    let end = bytes[at..].iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[at..at + end].to_vec()).unwrap()
}

fn nodes(bytes: &[u8]) -> Nodes {
    let offset = |at| usize::try_from(word(bytes, at)).unwrap();
    assert_eq!((word(bytes, 0), offset(4)), (HEAD, bytes.len()));
    let (mut at, strings) = (offset(8), offset(12));
    let (mut path, mut nodes) = (Vec::<String>::new(), Nodes::new());
    loop {
        let token = word(bytes, at);
        at += 4;
        match token {
            1 => {
                let name = text(bytes, at);
                at = (at + name.len() + 1).next_multiple_of(4);
                path.push(name);
                nodes.insert(path.join("/"), BTreeMap::new());
            }
            2 => drop(path.pop()),
            3 => {
                let length = offset(at);
                let name = text(bytes, strings + offset(at + 4));
                let value = bytes[at + 8..at + 8 + length].to_vec();
                nodes.get_mut(&path.join("/")).unwrap().insert(name, value);
                at = (at + 8 + length).next_multiple_of(4);
            }
            4 => {}
            9 => return nodes,
            other => panic!("token {other}"),
        }
    }
}

fn cells(nodes: &Nodes, path: &str, property: &str) -> Vec<u32> {
    let node = nodes.get(path).unwrap_or_else(|| panic!("{path} in {:?}", nodes.keys()));
    let value = node.get(property).unwrap_or_else(|| panic!("{property} in {path}"));
    value.chunks(4).map(|cell| word(cell, 0)).collect()
}

fn tree(plan: &Plan) -> Nodes {
    let emitted = emit(plan, Surroundings::default(), Consumer::DeviceTree).unwrap();
    nodes(&emitted.files[0].bytes)
}

#[test]
fn memory_and_what_to_keep_off_are_there() {
    let host = host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]);
    let nodes = tree(&planned(&host, &request(Machine::Q35, 4 * GIB)));
    assert_eq!(cells(&nodes, "/memory@100000000", "reg"), [1, 0, 0, 0x8480_0000]);
    let kept = "/reserved-memory/ringfence@7b800000";
    assert_eq!(cells(&nodes, kept, "reg"), [0, 0x7b80_0000, 0, 0x480_0000]);
    assert!(nodes[kept].contains_key("no-map"));
    assert!(
        !nodes.keys().any(|path| path.contains("pcie")),
        "no function is known where the guest finds it"
    );
}

#[test]
fn a_region_is_told_in_the_cells_of_the_devices_bus() {
    let low = stolen(0x7b80_0000, 0x7fff_ffff);
    let mut high = region(0x20_0000_0000, 0x20_000f_ffff, RegionKind::Relaxable, &[GRAPHICS, USB]);
    high.role = Role::Other;
    let mut request = with(Machine::Library, 4 * GIB, Policy::Identity);
    request.viommu = Some(Viommu::SmmuV3);
    request.devices[0].guest = Some(at("0000:00:02.0"));
    let mut usb = request.devices[0];
    (usb.address, usb.guest) = (at(USB), Some(at("0000:00:05.1")));
    request.devices.push(usb);
    let nodes = tree(&planned(&host(vec![low, high]), &request));
    let [graphics, usb] = ["/pcie@c0000000/device@2,0", "/pcie@c0000000/device@5,1"];
    assert_eq!(cells(&nodes, graphics, "reg"), [2 << 11, 0, 0, 0, 0]);
    assert_eq!(cells(&nodes, usb, "reg"), [5 << 11 | 1 << 8, 0, 0, 0, 0]);
    let handle = |path| cells(&nodes, path, "phandle")[0];
    let [low, high] =
        ["/reserved-memory/ringfence@7b800000", "/reserved-memory/ringfence@2000000000"];
    // The device, the space, the address, the length.
    assert_eq!(
        cells(&nodes, low, "iommu-addresses"),
        [handle(graphics), 0x0200_0000, 0, 0x7b80_0000, 0, 0x480_0000]
    );
    assert_eq!(
        cells(&nodes, high, "iommu-addresses"),
        [
            [handle(graphics), 0x0300_0000, 0x20, 0, 0, 0x10_0000],
            [handle(usb), 0x0300_0000, 0x20, 0, 0, 0x10_0000]
        ]
        .concat()
    );
    assert_eq!(cells(&nodes, low, "reg"), [0, 0x7b80_0000, 0, 0x480_0000]);
    // Linux looks from the device.
    assert_eq!(cells(&nodes, graphics, "memory-region"), [handle(low), handle(high)]);
    assert_eq!(cells(&nodes, usb, "memory-region"), [handle(high)]);
    // No cell of an address or length can be taken for a handle.
    for path in [low, high] {
        let told = cells(&nodes, path, "iommu-addresses");
        let others = told.chunks(6).flat_map(|entry| &entry[1..]);
        assert!(others.clone().all(|cell| ![handle(graphics), handle(usb)].contains(cell)));
    }
}

#[test]
fn devices_reach_everything_but_holes() {
    let mut request = request(Machine::Library, 4 * GIB);
    request.devices[0].guest = Some(at("0000:00:02.0"));
    let nodes = tree(&planned(&host(vec![stolen(0x7b80_0000, 0x7fff_ffff)]), &request));
    assert_eq!(cells(&nodes, "/pcie@c0000000", "#address-cells"), [3]);
    assert_eq!(cells(&nodes, "/pcie@c0000000", "#size-cells"), [2]);
    // Base addresses lie in the plan's windows.
    let windows = cells(&nodes, "/pcie@c0000000", "ranges");
    assert_eq!(windows[..7], [0x0200_0000, 0, 0xc000_0000, 0, 0xc000_0000, 0, 0x3ec0_0000]);
    assert_eq!(
        cells(&nodes, "/pcie@c0000000", "dma-ranges"),
        [
            [0x0200_0000, 0, 0, 0, 0, 0, 0x7b80_0000],
            [0x0200_0000, 0, 0x8000_0000, 0, 0x8000_0000, 0, 0x8000_0000],
            // 39 bits, which is what the host translates.
            [0x0300_0000, 1, 0, 1, 0, 0x7f, 0],
        ]
        .concat()
    );
}

#[test]
fn a_window_is_the_only_pool_of_its_device() {
    let mut request = request(Machine::Library, 4 * GIB);
    let bytes = NonZeroU64::new(16 * MIB).unwrap();
    for (name, guest) in [("disk", "0000:00:05.0"), ("share", "0000:00:06.0")] {
        request.windows.push(WindowWish { name: name.to_owned(), bytes, guest: at(guest) });
    }
    let host = host(vec![stolen(0x1000_0000, 0x10ff_ffff)]);
    let plan = planned(&host, &request);
    assert_eq!(check(std::slice::from_ref(&host), &request, &plan), []);
    // Above 256 MiB, behind the region that is there.
    let [disk, share] = &plan.windows[..] else { panic!("{:?}", plan.windows) };
    assert_eq!(disk.span, gpa(0x1100_0000, 0x11ff_ffff));
    let nodes = tree(&plan);
    let pool = format!("/reserved-memory/window@{:x}", share.span.first().get());
    assert_eq!(nodes[&pool]["compatible"], b"restricted-dma-pool\0");
    assert!(!nodes[&pool].contains_key("no-map") && !nodes[&pool].contains_key("reusable"));
    let [first, size] = [0x1200_0000, 0x100_0000];
    assert_eq!(cells(&nodes, &pool, "reg"), [0, first, 0, size]);
    let handle = cells(&nodes, &pool, "phandle");
    assert_eq!(cells(&nodes, "/pcie@c0000000/device@6,0", "memory-region"), handle);
    // One that lies on the other's is found, and one that fits nowhere is refused.
    let mut wrong = plan.clone();
    wrong.windows[1].span = wrong.windows[0].span;
    let found = check(std::slice::from_ref(&host), &request, &wrong);
    assert!(found.iter().any(|one| one.rule == Rule::Windows), "{found:?}");
    request.windows[0].bytes = NonZeroU64::new(5 * GIB).unwrap();
    assert_eq!(refused(&host, &request)[0].code(), &refusals::NO_ROOM);
}
