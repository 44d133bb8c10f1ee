//! A made-up host: blocks of root port, switch and endpoints, as many as are asked for.

/// Functions in a block.
const BLOCK: usize = 16;
/// Blocks in a domain: each takes four bus numbers and a place on the root bus.
const BLOCKS_A_DOMAIN: usize = 60;
/// Functions in a domain.
pub(super) const FUNCTIONS_A_DOMAIN: usize = BLOCK * BLOCKS_A_DOMAIN;
/// How long config space is.
const CONFIG: usize = 4096;

/// Where registers are in every function made here.
const EXPRESS: usize = 0x40;
const ACS: u16 = 0x148;
const REQUIRED: u16 = 0x1d;

/// A function and where sysfs has it.
pub(super) struct Made {
    /// `0000:01:00.0`.
    pub(super) address: String,
    /// From `devices/` to its directory.
    pub(super) path: String,
    /// Its config space.
    pub(super) config: Vec<u8>,
    /// The driver that has it.
    pub(super) driver: &'static str,
}

/// What it is on PCI Express, with the number the register has.
#[derive(Clone, Copy)]
enum Port {
    Endpoint = 0,
    Root = 4,
    Upstream = 5,
    Downstream = 6,
}

/// As many blocks as hold `functions`.
///
/// In every block a root port isolates. Below is a switch with two ports, which isolate in every
/// other block; below them are a device of eight functions and one of four, without ACS.
pub(super) fn functions(functions: usize) -> Vec<Made> {
    (0..functions.div_ceil(BLOCK)).flat_map(block).take(functions).collect()
}

fn block(number: usize) -> Vec<Made> {
    let (domain, place) = (number / BLOCKS_A_DOMAIN, number % BLOCKS_A_DOMAIN);
    let bus = |below: usize| u8::try_from(4 * place + below).expect("a domain has 256 buses");
    let control = if number.is_multiple_of(2) { REQUIRED } else { 0 };
    let root = format!("{domain:04x}:00:{:02x}.{}", 1 + place / 2, place % 2);
    let up = format!("{domain:04x}:{:02x}:00.0", bus(1));
    let mut made = Vec::with_capacity(BLOCK);
    let mut add = |above: &str, address: String, port, below: Option<[u8; 2]>, acs| {
        let is_root = above.is_empty();
        let path = if is_root {
            format!("pci{domain:04x}:00/{address}")
        } else {
            format!("{above}/{address}")
        };
        let many = is_root || below.is_none();
        let config = config(port, below, acs, many);
        let driver = if below.is_some() { "pcieport" } else { "mlx5_core" };
        made.push(Made { address, path: path.clone(), config, driver });
        path
    };
    let root = add("", root, Port::Root, Some([bus(1), bus(4)]), Some(REQUIRED));
    let up = add(&root, up, Port::Upstream, Some([bus(2), bus(4)]), None);
    for (device, (below, count)) in [(bus(3), 8), (bus(4), 4)].into_iter().enumerate() {
        let port = format!("{domain:04x}:{:02x}:{device:02x}.0", bus(2));
        let port = add(&up, port, Port::Downstream, Some([below, below]), Some(control));
        for function in 0..count {
            let address = format!("{domain:04x}:{below:02x}:00.{function}");
            add(&port, address, Port::Endpoint, None, None);
        }
    }
    made
}

/// Config space with the capabilities such functions have.
fn config(port: Port, below: Option<[u8; 2]>, acs: Option<u16>, many: bool) -> Vec<u8> {
    let mut bytes = vec![0; CONFIG];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let (device, class): (u16, [u8; 3]) =
        if below.is_some() { (0x4242, [0, 4, 6]) } else { (0x1017, [0, 0, 2]) };
    put(0x00, &0x15b3_u16.to_le_bytes());
    put(0x02, &device.to_le_bytes());
    // Memory and bus master on; a list of capabilities.
    put(0x04, &[0x06, 0x04, 0x10, 0x00]);
    put(0x09, &class);
    put(0x0e, &[u8::from(below.is_some()) | if many { 0x80 } else { 0 }]);
    // Memory of 64 bits, with the address the kernel gave it.
    put(0x10, &0xe000_000c_u32.to_le_bytes());
    match below {
        Some([secondary, subordinate]) => put(0x19, &[secondary, subordinate]),
        None => put(0x2c, &[0xb3, 0x15, 0x06, 0x00]),
    }
    put(0x34, &[0x60]);
    // Power management, then PCI Express of version 2.
    put(0x60, &[0x01, 0x40, 0x03, 0x00]);
    put(EXPRESS, &[0x10, 0x00, 0x02 | (port as u8) << 4, 0x00]);
    // Advanced errors, then ACS where there is one.
    let next: u16 = if acs.is_some() { ACS << 4 } else { 0 };
    put(0x100, &[0x01, 0x00]);
    put(0x102, &(next | 2).to_le_bytes());
    if let Some(control) = acs {
        let at = usize::from(ACS);
        put(at, &[0x0d, 0x00, 0x01, 0x00]);
        put(at + 4, &REQUIRED.to_le_bytes());
        put(at + 6, &control.to_le_bytes());
    }
    bytes
}
