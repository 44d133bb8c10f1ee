//! What either side may use, and what would break the fence and why.
//!
//! Features are negotiated with each side by itself. What concerns only the device type is passed
//! through; what concerns how memory is reached is ended here, or masked with a reason.

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use virtio_bindings::virtio_config::{
    VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_ADMIN_VQ, VIRTIO_F_IN_ORDER, VIRTIO_F_NOTIF_CONFIG_DATA,
    VIRTIO_F_NOTIFICATION_DATA, VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_ORDER_PLATFORM,
    VIRTIO_F_RING_PACKED, VIRTIO_F_RING_RESET, VIRTIO_F_SR_IOV,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// A feature a backend offers that the fence keeps from the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The feature bit; protocol features are a set of their own.
    pub bit: u32,
    /// Its name in the specification.
    pub name: &'static str,
    /// What would break.
    pub reason: &'static str,
}

/// `VHOST_USER_F_PROTOCOL_FEATURES`.
pub const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
/// Notification suppression by index; the broker does it with each side by itself.
pub const EVENT_INDEX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// Indirect descriptor tables.
pub const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// Virtio features that are not let through, with reasons.
pub const MASKED: &[Masked] = &[
    Masked {
        bit: VIRTIO_F_NOTIFY_ON_EMPTY,
        name: "VIRTIO_F_NOTIFY_ON_EMPTY",
        reason: "a legacy notification rule the broker does not follow on the guest's ring",
    },
    Masked {
        bit: VhostUserVirtioFeatures::LOG_ALL.bits().trailing_zeros(),
        name: "VHOST_F_LOG_ALL",
        reason: "a backend that logs writes needs guest addresses; it must not learn any",
    },
    Masked {
        bit: VIRTIO_F_ACCESS_PLATFORM,
        name: "VIRTIO_F_ACCESS_PLATFORM",
        reason: "addresses would be those of a virtual IOMMU, which the broker does not ask yet",
    },
    Masked {
        bit: VIRTIO_F_RING_PACKED,
        name: "VIRTIO_F_RING_PACKED",
        reason: "the broker reads split rings only",
    },
    Masked {
        bit: VIRTIO_F_IN_ORDER,
        name: "VIRTIO_F_IN_ORDER",
        reason: "a backend's batched completions would have to be believed, not checked one by one",
    },
    Masked {
        bit: VIRTIO_F_ORDER_PLATFORM,
        name: "VIRTIO_F_ORDER_PLATFORM",
        reason: "the broker's barriers are those between processors, not those of a bus",
    },
    Masked {
        bit: VIRTIO_F_SR_IOV,
        name: "VIRTIO_F_SR_IOV",
        reason: "virtual functions would reach memory past this fence",
    },
    Masked {
        bit: VIRTIO_F_NOTIFICATION_DATA,
        name: "VIRTIO_F_NOTIFICATION_DATA",
        reason: "kicks would carry the guest's ring positions, which differ from the backend's",
    },
    Masked {
        bit: VIRTIO_F_NOTIF_CONFIG_DATA,
        name: "VIRTIO_F_NOTIF_CONFIG_DATA",
        reason: "kicks would carry data of the backend's ring to the guest's",
    },
    Masked {
        bit: VIRTIO_F_RING_RESET,
        name: "VIRTIO_F_RING_RESET",
        reason: "the broker resets whole devices, not single rings",
    },
    Masked {
        bit: VIRTIO_F_ADMIN_VQ,
        name: "VIRTIO_F_ADMIN_VQ",
        reason: "administration commands name memory and devices past this fence",
    },
];

/// Protocol features the broker itself speaks with a VMM, whatever the backend has.
const OURS: VhostUserProtocolFeatures = VhostUserProtocolFeatures::REPLY_ACK
    .union(VhostUserProtocolFeatures::BACKEND_REQ)
    .union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS);

/// Protocol features that are relayed, so offered only when the backend has them.
const RELAYED: VhostUserProtocolFeatures = VhostUserProtocolFeatures::MQ
    .union(VhostUserProtocolFeatures::CONFIG)
    .union(VhostUserProtocolFeatures::MTU)
    .union(VhostUserProtocolFeatures::RARP);

/// Protocol features used towards the backend when it has them.
const WANTED: VhostUserProtocolFeatures = RELAYED
    .union(VhostUserProtocolFeatures::REPLY_ACK)
    .union(VhostUserProtocolFeatures::BACKEND_REQ);

fn masked_bits() -> u64 {
    MASKED.iter().fold(0, |bits, masked| bits | 1 << masked.bit)
}

/// What the VMM is offered, of what the backend offers.
pub fn offered_to_frontend(backend: u64) -> u64 {
    backend & !masked_bits() | PROTOCOL_FEATURES | EVENT_INDEX
}

/// What of the backend's offer is acknowledged to it, after the VMM acknowledged `frontend`.
pub fn acknowledged_to_backend(backend: u64, frontend: u64) -> u64 {
    let passed = frontend & backend & !masked_bits() & !EVENT_INDEX & !PROTOCOL_FEATURES;
    passed | backend & (EVENT_INDEX | PROTOCOL_FEATURES)
}

/// The features of the backend's offer that were masked.
pub fn masked(backend: u64) -> impl Iterator<Item = &'static Masked> {
    MASKED.iter().filter(move |masked| backend & 1 << masked.bit != 0)
}

/// Protocol features the VMM is offered.
pub fn protocol_offered_to_frontend(backend: u64) -> u64 {
    (OURS | VhostUserProtocolFeatures::from_bits_retain(backend) & RELAYED).bits()
}

/// Protocol features acknowledged to the backend.
pub fn protocol_acknowledged_to_backend(backend: u64) -> u64 {
    (VhostUserProtocolFeatures::from_bits_retain(backend) & WANTED).bits()
}

/// Whether a set of protocol features has one.
pub fn protocol_has(features: u64, feature: VhostUserProtocolFeatures) -> bool {
    VhostUserProtocolFeatures::from_bits_retain(features).contains(feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_side_sees_a_masked_bit() {
        let offered = offered_to_frontend(u64::MAX);
        let acknowledged = acknowledged_to_backend(u64::MAX, offered);
        for masked in MASKED {
            assert_eq!(offered & 1 << masked.bit, 0, "{} offered", masked.name);
            assert_eq!(acknowledged & 1 << masked.bit, 0, "{} acknowledged", masked.name);
            assert!(!masked.reason.is_empty());
        }
        assert_eq!(masked(u64::MAX).count(), MASKED.len());
        assert_eq!(masked(0).count(), 0);
    }

    #[test]
    fn a_device_feature_needs_both_sides() {
        let seg_max = 1 << 2;
        assert_eq!(offered_to_frontend(0) & seg_max, 0);
        assert_eq!(acknowledged_to_backend(seg_max, 0), 0);
        assert_eq!(acknowledged_to_backend(0, seg_max), 0);
        assert_eq!(acknowledged_to_backend(seg_max, seg_max), seg_max);
        assert_eq!(acknowledged_to_backend(INDIRECT, 0), 0);
    }

    #[test]
    fn event_index_is_negotiated_with_each_side_by_itself() {
        assert_ne!(offered_to_frontend(0) & EVENT_INDEX, 0);
        assert_eq!(acknowledged_to_backend(0, EVENT_INDEX), 0);
        assert_eq!(acknowledged_to_backend(EVENT_INDEX, 0), EVENT_INDEX);
    }

    #[test]
    fn protocol_features_that_share_memory_are_offered_to_nobody() {
        let unsafe_ones = VhostUserProtocolFeatures::HOST_NOTIFIER
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::SHMEM
            | VhostUserProtocolFeatures::SHARED_OBJECT
            | VhostUserProtocolFeatures::PAGEFAULT
            | VhostUserProtocolFeatures::LOG_SHMFD
            | VhostUserProtocolFeatures::XEN_MMAP
            | VhostUserProtocolFeatures::DEVICE_STATE
            | VhostUserProtocolFeatures::BACKEND_SEND_FD;
        assert_eq!(protocol_offered_to_frontend(u64::MAX) & unsafe_ones.bits(), 0);
        assert_eq!(protocol_acknowledged_to_backend(u64::MAX) & unsafe_ones.bits(), 0);
    }
}
