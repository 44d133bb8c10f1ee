//! Tables of real machines, each as a host of nothing else: every question has an answer, and every
//! map is accepted by the checker.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Host, HostMemory, Owners, Role};
use ringfence_plan::check::check;
use ringfence_plan::{Assigned, Case, Machine, Request, plan};

use crate::model::holds;
use crate::strategy::{FUNCTIONS, GIB, at};

/// Where the tables are, beside the folder of the repository.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/acpi")
}

const MACHINES: [Machine; 3] = [Machine::Q35, Machine::I440fx, Machine::CloudHypervisor];
const SIZES: [u64; 4] = [2 * GIB, 4 * GIB, 16 * GIB, 1024 * GIB];

/// Every table's name and what a host with it and nothing else has set apart.
fn hosts() -> Vec<(String, HostMemory)> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "bin"));
    paths.sort();
    let host = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let signature = String::from_utf8_lossy(&bytes[..4]).into_owned();
        let mut host = Host::default();
        host.table_bytes.insert(signature, Fact::Known(bytes));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, HostMemory::of(&host))
    };
    paths.iter().map(host).collect()
}

fn request(machine: Machine, memory: u64, devices: &BTreeSet<PciAddress>) -> Request {
    let mut request = Request::new(NonZeroU64::new(memory).unwrap(), machine);
    let devices =
        devices.iter().map(|address| Assigned { address: *address, policy: None, guest: None });
    request.devices = devices.collect();
    request
}

/// The functions to be given away: graphics; and every one that a region names.
fn device_sets(host: &HostMemory) -> [BTreeSet<PciAddress>; 2] {
    let mut named = BTreeSet::from([at("0000:01:00.0")]);
    for region in &host.regions {
        match &region.owners {
            Owners::These(all) | Owners::Among(all) => named.extend(all),
            Owners::Range(first, _) => named.extend([*first]),
            Owners::All | Owners::Unknown => {}
        }
    }
    [[at(FUNCTIONS[0])].into(), named]
}

pub(crate) fn every_table_has_an_answer() {
    let hosts = hosts();
    println!("{} tables; answers for graphics alone and for every function named:", hosts.len());
    assert!(hosts.len() >= 100, "{} tables", hosts.len());
    for machine in MACHINES {
        for memory in SIZES {
            let mut answers: BTreeMap<String, usize> = BTreeMap::new();
            for (name, host) in &hosts {
                let hosts = std::slice::from_ref(host);
                for devices in device_sets(host) {
                    let request = request(machine, memory, &devices);
                    let answer = match plan(hosts, &request) {
                        Ok(plan) => {
                            let found = check(hosts, &request, &plan);
                            assert!(found.is_empty(), "{name} {machine} {memory}: {found:#?}");
                            let held = holds(hosts, &request, &plan);
                            assert_eq!(held, Ok(()), "{name} {machine} {memory}");
                            "planned".to_owned()
                        }
                        Err(refusals) => {
                            for refusal in &refusals {
                                assert!(!refusal.detail().is_empty(), "{name}: {refusal:?}");
                            }
                            let codes: BTreeSet<_> =
                                refusals.iter().map(|one| one.code().name).collect();
                            codes.into_iter().collect::<Vec<_>>().join(" + ")
                        }
                    };
                    *answers.entry(answer).or_default() += 1;
                }
            }
            let answers: Vec<_> =
                answers.iter().map(|(answer, count)| format!("{count} {answer}")).collect();
            println!("{machine:>16} {:5} GiB: {}", memory / GIB, answers.join(", "));
        }
    }
}

/// How graphics' regions meet memory, by raw tables: 216 regions of bus 0, device 2, function 0.
/// Where memory is above 2 GiB, i440fx and Cloud Hypervisor have it up to 3 GiB and q35 has not.
pub(crate) fn graphics_meets_memory() {
    let mut hosts = hosts();
    for (_, host) in &mut hosts {
        // Whether memory ends within reach is another question.
        host.address_bits = Fact::Known(48);
    }
    for machine in MACHINES {
        for memory in SIZES {
            let mut counts: BTreeMap<Case, usize> = BTreeMap::new();
            let (mut regions, mut refused, mut odd) = (0, 0, BTreeSet::new());
            for (name, host) in &hosts {
                let graphics: Vec<_> = host
                    .regions
                    .iter()
                    .filter(|region| match &region.owners {
                        Owners::These(functions) => functions.contains(&at(FUNCTIONS[0])),
                        _ => false,
                    })
                    .collect();
                let others = graphics.iter().filter(|region| region.role != Role::Graphics);
                odd.extend(
                    others.map(|region| format!("{name}: {} {:?}", region.span, region.role)),
                );
                regions += graphics.len();
                let mut request = request(machine, memory, &[at(FUNCTIONS[0])].into());
                (request.direct_allowed, request.shared_allowed) = (true, true);
                let plan = match plan(std::slice::from_ref(host), &request) {
                    Ok(plan) => plan,
                    Err(refusals) => {
                        if !graphics.is_empty() {
                            println!("{name} {machine} {memory}: {refusals:?}");
                        }
                        refused += graphics.len();
                        continue;
                    }
                };
                for region in graphics {
                    let settlement = plan.settlements.iter().find(|one| {
                        one.span.first().get() <= region.span.first().get()
                            && one.span.last().get() >= region.span.last().get()
                    });
                    let cases = settlement.map(|one| one.cases.clone()).unwrap_or_default();
                    // Beside memory as well, and on what q35 has fixed there.
                    let cases = cases.iter().map(|case| match case {
                        Case::E => Case::C,
                        case => *case,
                    });
                    for case in cases.filter(|case| *case <= Case::C) {
                        *counts.entry(case).or_default() += 1;
                    }
                }
            }
            println!("{machine:>16} {:5} GiB: {counts:?} of {regions}, {odd:?}", memory / GIB);
            assert_eq!(refused, 0, "{machine} {memory}");
            if regions != 216 {
                continue;
            }
            let expected = if machine == Machine::Q35 || memory == 2 * GIB {
                [(Case::A, 96), (Case::B, 15), (Case::C, 105)]
            } else {
                [(Case::A, 196), (Case::B, 2), (Case::C, 18)]
            };
            assert_eq!(counts, expected.into(), "{machine} {memory}");
        }
    }
}
