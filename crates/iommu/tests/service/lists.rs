//! Target lists: who is not listed cannot even join, and each line is held to.

use ringfence_addr::Rights;
use ringfence_iommu::Mode;
use ringfence_iommu::refusals::{NAME_TAKEN, NOT_LISTED, NOT_YOURS};
use ringfence_iommu::service::batch::Answer;
use ringfence_iommu::service::control::{Control, Reply, WireRights};
use ringfence_iommu::service::{HolderClient, OwnerClient, Rule};
use ringfence_ledger::{Appears, Place, Wish};

use crate::kit::{Kit, PAGE, memory, wish};

#[test]
fn who_is_not_listed_cannot_join() {
    let kit = Kit::new();
    let (_owner, _file) = kit.owner("red");
    for (owner, name) in [("red", "stranger"), ("blue", "nic")] {
        let refused = HolderClient::new(kit.connect(), owner, name, None).expect_err("not listed");
        let said = format!("{:?}", std::error::Error::source(&refused));
        assert!(said.contains(&format!("code: {}", NOT_LISTED.number)), "{said}");
    }
    let _holder = kit.holder("red");
    let refused = HolderClient::new(kit.connect(), "red", "nic", None).expect_err("it is taken");
    let said = format!("{:?}", std::error::Error::source(&refused));
    assert!(said.contains(&format!("code: {}", NAME_TAKEN.number)), "{said}");
}

#[test]
fn lines_come_before_those_they_are_about_and_go_with_what_is_mapped() {
    let kit = Kit::new();
    let line = Rule {
        owner: "blue".to_owned(),
        holder: "disk".to_owned(),
        memory: Some(memory(16, 16)),
        rights: Rights::READ,
        quota_bytes: Some(4 * PAGE),
    };
    kit.service.allow(line.clone()).expect("room");
    let (owner, _file) = kit.owner("blue");
    let device = Some("0000:00:02.0");
    let (mut disk, _) =
        HolderClient::new(kit.connect(), "blue", "disk", device).expect("it is listed");
    let read = |first, count| Wish { rights: Rights::READ, ..wish(&disk, first, count) };
    let wishes = [
        read(16, 4),
        read(20, 1),
        read(15, 1),
        wish(&disk, 24, 1),
        Wish { place: Place::Chosen, appears: Appears::Host, ..read(30, 1) },
    ];
    let answers = disk.map(&wishes, Mode::BestEffort).expect("answered");
    let codes: Vec<u16> = answers
        .iter()
        .map(|answer| if let Answer::Refused(code, _) = answer { *code } else { 0 })
        .collect();
    assert_eq!(codes, [0, 110, 101, 102, 110], "{answers:?}");
    let allowed = kit.service.allowed();
    let of_disk = allowed.iter().find(|allowed| allowed.rule == line).expect("listed");
    assert_eq!((of_disk.holder_is_there, of_disk.mapped_frames), (true, 4));

    assert!(kit.service.disallow("blue", "disk", false).is_err(), "it has mappings");
    let disallow = Control::Disallow { holder: "disk".to_owned(), revoke: true };
    assert_eq!(owner.ask(&disallow).expect("answered"), Reply::Done);
    assert_eq!(kit.device.reached(), 0);
    let answers = disk.map(&[wishes[0]], Mode::BestEffort).expect("answered");
    assert!(matches!(answers[..], [Answer::Refused(101, _)]), "{answers:?}");
    assert!(kit.service.disallow("blue", "disk", false).is_err(), "it is on it no more");
}

#[test]
fn an_owner_is_no_holder_and_a_holder_no_owner() {
    let kit = Kit::new();
    let (owner, _file) = kit.owner("red");
    let code = |reply: &Reply| if let Reply::Refused { code, .. } = reply { *code } else { 0 };
    let again = owner.ask(&Control::Own { name: "other".to_owned() }).expect("answered");
    assert_eq!(code(&again), NOT_YOURS.number);
    let (_, taken) = OwnerClient::new(kit.connect(), "red").expect("answered");
    assert_eq!(code(&taken), NAME_TAKEN.number);
    let (nobody, refused) = OwnerClient::new(kit.connect(), "../red").expect("answered");
    assert_ne!(code(&refused), 0);
    let reply = nobody.allow("nic", WireRights::Read).expect("answered");
    assert_eq!(code(&reply), NOT_YOURS.number);
    let retire =
        Control::Retire { memory: memory(0, 1).into(), within_milliseconds: None, revoke: true };
    assert_eq!(code(&nobody.ask(&retire).expect("answered")), NOT_YOURS.number);
}
