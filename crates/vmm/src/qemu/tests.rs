//! The arguments, word for word: a change shows as the option it is about.

use expect_test::{Expect, expect};

use super::*;

fn device(name: &str, queues: Option<u16>, properties: &[(&str, Property)]) -> VhostUserDevice {
    VhostUserDevice {
        id: format!("my{name}"),
        kind: DeviceKind::named(name).expect("a kind"),
        socket: format!("/run/{name}.sock").into(),
        queues,
        properties: properties
            .iter()
            .map(|(name, setting)| ((*name).to_owned(), setting.clone()))
            .collect(),
    }
}

fn machine() -> Machine {
    Machine {
        name: "first, and only".to_owned(),
        memory_bytes: 512 << 20,
        cpus: 2,
        accelerator: Accelerator::Tcg,
        boot: Boot::Linux {
            kernel: "vmlinuz".into(),
            initrd: Some("initrd.gz".into()),
            command_line: "console=ttyS0 panic=-1".to_owned(),
        },
        console: Console::Output,
        qmp_socket: Some("/run/a,b/qmp".into()),
        devices: vec![device("blk", Some(1), &[("bootindex", Property::Number(1))])],
    }
}

/// One line per option, so that a change shows as the option it is about.
fn check(arguments: &[OsString], expected: &Expect) {
    let mut lines = String::new();
    for argument in arguments {
        let argument = argument.to_string_lossy();
        let first_on_line = argument.starts_with('-') && !argument.starts_with("- ");
        lines.push_str(if !first_on_line {
            " "
        } else if lines.is_empty() {
            ""
        } else {
            "\n"
        });
        lines.push_str(&argument);
    }
    lines.push('\n');
    expected.assert_eq(&lines);
}

#[test]
fn a_linux_machine_with_a_disk() {
    check(
        &machine().arguments(),
        &expect![[r#"
            -no-user-config
            -nodefaults
            -no-reboot
            -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
            -display none
            -name guest=first,, and only
            -machine q35
            -accel tcg
            -cpu max
            -smp 2
            -m size=512M
            -object memory-backend-memfd,id=ram,size=512M,share=on
            -machine memory-backend=ram
            -kernel vmlinuz
            -initrd initrd.gz
            -append console=ttyS0 panic=-1
            -chardev stdio,id=console,signal=off
            -serial chardev:console
            -qmp unix:/run/a,,b/qmp,server=on,wait=off
            -chardev socket,id=myblk,path=/run/blk.sock
            -device vhost-user-blk-pci,id=myblk-device,chardev=myblk,num-queues=1,disable-legacy=on,bootindex=1
        "#]],
    );
}

#[test]
fn firmware_on_the_terminal_under_kvm() {
    let machine = Machine {
        boot: Boot::Firmware("OVMF.fd".into()),
        console: Console::Terminal,
        accelerator: Accelerator::Kvm,
        qmp_socket: None,
        devices: Vec::new(),
        ..machine()
    };
    check(
        &machine.arguments(),
        &expect![[r#"
            -no-user-config
            -nodefaults
            -no-reboot
            -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
            -display none
            -name guest=first,, and only
            -machine q35
            -accel kvm
            -cpu max
            -smp 2
            -m size=512M
            -object memory-backend-memfd,id=ram,size=512M,share=on
            -machine memory-backend=ram
            -bios OVMF.fd
            -serial mon:stdio
        "#]],
    );
}

#[test]
fn other_devices() {
    let tag = ("tag", Property::Text("a,b".to_owned()));
    let mut all = device_options(&device("fs", Some(2), &[tag]));
    all.extend(device_options(&device("net", Some(4), &[("mrg_rxbuf", Property::Switch(false))])));
    all.extend(device_options(&device("rng", None, &[])));
    check(
        &all,
        &expect![[r#"
            -chardev socket,id=myfs,path=/run/fs.sock
            -device vhost-user-fs-pci,id=myfs-device,chardev=myfs,num-request-queues=2,tag=a,,b
            -chardev socket,id=mynet,path=/run/net.sock
            -netdev vhost-user,id=mynet-peer,chardev=mynet,queues=4
            -device virtio-net-pci,id=mynet-device,netdev=mynet-peer,mq=on,disable-legacy=on,mrg_rxbuf=off
            -chardev socket,id=myrng,path=/run/rng.sock
            -device vhost-user-rng-pci,id=myrng-device,chardev=myrng
        "#]],
    );
}

#[test]
fn two_lines_for_a_command_of_ones_own() {
    expect![[r#"
        -object memory-backend-memfd,id=ram,size=1G,share=on -machine memory-backend=ram
        -chardev socket,id=myblk,path=/run/blk.sock -device vhost-user-blk-pci,id=myblk-device,chardev=myblk,disable-legacy=on
    "#]].assert_eq(&snippet(1 << 30, &device("blk", None, &[])));
}
