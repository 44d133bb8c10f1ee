//! The account of the host: who may reach which memory, with what devices, for whoever connects.
//!
//! Beside the socket for requests there is one for owners and holders, who stay connected. Its journal,
//! and what it takes to cut a holder's device off, is kept by whoever supervises the service (`keeping`):
//! when the service dies, its successor cuts every device off that reached anything, before it serves.

mod devices;
mod keeping;

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringfence_iommu::Journal;
use ringfence_iommu::service::Service;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::answering::{Desk, expect_allowed};
use super::telling::{Notice, Teller};
use devices::Claimed;
pub(super) use keeping::Kept;

/// Beside the socket for requests.
pub(super) const SOCKET: &str = "account";

/// How many mappings there can be at a time: the journal's file has 64 bytes for each, and takes memory
/// as they come.
const MAPPINGS_MAX: u32 = 1 << 22;

/// How many owners and holders there can be at a time.
const CONNECTIONS_MAX: usize = 256;

/// Makes the account, after what an earlier one left was tidied up.
pub(super) fn open(kept: Kept, desk: &Arc<Desk>, teller: &Teller) -> anyhow::Result<Arc<Service>> {
    let keeping = kept.recover(&|event, sentence| teller.tell(Notice::of_all(event, sentence)))?;
    let journal = Journal::new(MAPPINGS_MAX)?;
    keeping.keep_journal(&journal)?;
    let devices = Claimed::new(Arc::clone(desk), keeping);
    Ok(Service::new(journal, Box::new(devices)))
}

/// Serves owners and holders until the process ends.
pub(super) fn start(listener: UnixListener, service: &Arc<Service>) {
    let deadlines = Arc::clone(service);
    std::thread::spawn(move || deadlines.watch_deadlines());
    let service = Arc::clone(service);
    let connected = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors, say: others may give some back.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            let peer = socket_peercred(&stream);
            let may = peer.is_ok_and(|peer| expect_allowed(peer.uid, geteuid()).is_ok());
            if !may || connected.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                if may {
                    connected.fetch_sub(1, Ordering::Relaxed);
                }
                continue;
            }
            let (service, connected) = (Arc::clone(&service), Arc::clone(&connected));
            std::thread::spawn(move || {
                service.serve(&stream);
                connected.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
}
