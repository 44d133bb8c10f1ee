//! Groups of any functions, with trouble anywhere.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use ringfence_addr::PciAddress;

use crate::fake::{BRIDGE, HOST_BRIDGE, Host, NETWORK, at};
use crate::kernel::{Kernel, TROUBLES, Trouble};

const DRIVERS: &[&str] = &["vfio-pci", "pci-stub", "mlx5_vfio_pci", "e1000e", "igb", "nvme"];

/// A function at random: its class, its driver, its override.
fn function() -> impl Strategy<Value = (u32, Option<usize>, Option<usize>)> {
    let class = prop::sample::select(vec![NETWORK, BRIDGE, HOST_BRIDGE, 0x01_0802]);
    (class, prop::option::of(0..DRIVERS.len()), prop::option::weighted(0.2, 0..DRIVERS.len()))
}

fn host_of(functions: &[(u32, Option<usize>, Option<usize>)]) -> (Host, Vec<PciAddress>) {
    let host = Host::new(DRIVERS);
    let names: Vec<_> = (0..functions.len()).map(|slot| format!("0000:00:{slot:02x}.0")).collect();
    for (name, (class, driver, only)) in names.iter().zip(functions) {
        // The host was as it is because its own drivers match, or the override says so.
        let driver = only.or(*driver).map(|driver| DRIVERS[driver]);
        host.function("", name, *class, driver);
        if let Some(only) = only {
            let file = format!("sys/bus/pci/devices/{name}/driver_override");
            host.write(&file, &format!("{}\n", DRIVERS[*only]));
        }
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    host.group(7, &names);
    (host, names.into_iter().map(at).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_claim_of_any_group_is_all_or_nothing(
        functions in prop::collection::vec(function(), 1..9),
        trouble in prop::option::of((0..24_usize, prop::sample::select(TROUBLES))),
    ) {
        let (host, addresses) = host_of(&functions);
        let before = host.state();
        let kernel = match trouble {
            Some((number, trouble)) => Kernel::troubled(&host, number, trouble),
            None => Kernel::of(&host),
        };
        let manager = host.manager(&kernel);
        match catch_unwind(AssertUnwindSafe(|| manager.claim(&addresses))) {
            Ok(Ok(claim)) => {
                for (member, (driver, _)) in claim.plan.members.iter().zip(host.state().values()) {
                    prop_assert_eq!(driver.as_deref(), claim.plan.driver_after(member));
                    let driver = driver.as_deref();
                    prop_assert!(driver.is_none_or(ringfence_device::is_accepted));
                }
                // Trouble that was not met yet may be met now.
                let _ = catch_unwind(AssertUnwindSafe(|| manager.release(addresses[0])));
                manager.recover().expect("journals of ours");
            }
            Ok(Err(failure)) => {
                prop_assert!(trouble.is_some(), "{}", failure);
                prop_assert!(host.journals().is_empty());
            }
            Err(_) => {
                let killed = trouble.map(|(_, trouble)| trouble);
                let kills = [Some(Trouble::KilledBefore), Some(Trouble::KilledAfter)];
                prop_assert!(kills.contains(&killed));
                manager.recover().expect("journals of ours");
            }
        }
        prop_assert_eq!(host.state(), before);
        prop_assert!(host.journals().is_empty());
    }
}
