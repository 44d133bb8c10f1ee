//! Which physical function a virtual one belongs to, where the source has registers alone.

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::host::Host;

/// Steps in all. A domain has 65,536 requester ids, and each is a virtual function of one physical
/// function at most, so a host of some domains needs fewer; what claims more is not to be believed.
const MOST_STEPS: u32 = 1 << 20;

/// Gives each function at the place of a virtual function its physical function, and, where the
/// registers of all functions are known, says of the others that they have none.
pub(super) fn assign(host: &mut Host) {
    let mut physical = Vec::new();
    let mut steps = 0;
    let mut all_known = true;
    for (address, function) in &host.functions {
        let Fact::Known(capability) = function.virtual_functions else {
            all_known = false;
            continue;
        };
        let Some(claimed) = capability.filter(|claimed| claimed.enabled) else { continue };
        let mut id = address.requester_id().checked_add(claimed.offset);
        for _ in 0..claimed.count {
            let Some(requester_id) = id else { break };
            if steps == MOST_STEPS {
                break;
            }
            steps += 1;
            let place = PciAddress::from_requester_id(address.domain(), requester_id);
            if place != *address && host.functions.contains_key(&place) {
                physical.push((place, *address));
            }
            id = requester_id.checked_add(claimed.stride);
        }
    }
    if steps == MOST_STEPS {
        host.remarks.push(format!(
            "functions claim more than {MOST_STEPS} virtual functions; no more were looked at"
        ));
    }
    for (place, of) in physical {
        if let Some(function) = host.functions.get_mut(&place)
            && !function.physical_function.is_known()
        {
            function.physical_function = Fact::Known(Some(of));
        }
    }
    if all_known && steps < MOST_STEPS {
        for function in host.functions.values_mut() {
            if !function.physical_function.is_known() {
                function.physical_function = Fact::Known(None);
            }
        }
    }
}
