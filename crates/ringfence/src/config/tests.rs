//! Decoding: a whole configuration, what it leaves to defaults, and that every refusal is raised.

use std::path::Path;

use ringfence_vmm::device::Property;
use ringfence_vmm::qemu::Boot;

use super::*;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn a_whole_configuration_is_decoded() {
    let vm = load(&folder().join("good.toml")).expect("it is good");
    assert_eq!((vm.name.as_str(), vm.memory_bytes, vm.cpus), ("good", 64 << 20, 2));
    assert_eq!(vm.vmm, folder().join("../bin/qemu").as_os_str());
    assert_eq!((vm.accelerator, vm.console), (AcceleratorChoice::Tcg, ConsoleChoice::Stdio));
    let Boot::Linux { kernel, initrd, command_line } = &vm.boot else { panic!("{:?}", vm.boot) };
    assert_eq!(kernel, &folder().join("good.toml"));
    assert_eq!(initrd.as_ref(), Some(kernel));
    assert_eq!(command_line, "console=ttyS0 quiet");
    let [disk, share] = &vm.devices[..] else { panic!("{:?}", vm.devices) };
    assert_eq!((disk.name.as_str(), disk.kind.name, disk.window_bytes), ("disk", "blk", 16 << 20));
    assert_eq!(disk.queues, Some(2));
    assert!(disk.sealed_memory && !share.sealed_memory);
    assert_eq!(disk.environment, [("MALLOC_ARENA_MAX".to_owned(), "1".to_owned())]);
    assert_eq!((disk.requests_per_second, disk.bytes_per_second), (Some(5000), Some(200 << 20)));
    assert_eq!((share.requests_per_second, share.bytes_per_second), (None, None));
    let place = ("addr".to_owned(), Property::Text("05.0".to_owned()));
    assert_eq!(disk.properties, [("bootindex".to_owned(), Property::Number(1)), place]);
    assert_eq!((disk.guest, share.guest), ("0000:00:05.0".parse().ok(), None));
    let Backend::Command { program, arguments, socket_suffix } = &disk.backend else {
        panic!("{:?}", disk.backend)
    };
    assert_eq!(program, folder().join("../bin/backend").as_os_str());
    assert_eq!(arguments[1], format!("{}/disk.img", folder().display()));
    assert_eq!(socket_suffix, "0");
    let filled = Backend::arguments(arguments, Path::new("/s"));
    assert_eq!(filled, ["--file", &arguments[1], "{\"driver\": \"file\"}", "addr.path=/s"]);
    let jail = JailChoice {
        on: true,
        required: true,
        network: true,
        readable: vec![folder().join(".")],
        writable: vec![folder().join("good.toml")],
    };
    assert_eq!(disk.jail, jail);
    assert_eq!((disk.restarts_max, share.restarts_max), (3, 8));
    assert!(share.jail.on && !share.jail.required && !share.jail.network);
    assert_eq!(share.window_bytes, device::DEFAULT_WINDOW_BYTES);
    let Backend::Socket(socket) = &share.backend else { panic!("{:?}", share.backend) };
    assert_eq!(socket, &folder().join("share.sock"));
}

#[test]
fn little_has_to_be_written() {
    let vm = decode("vm.toml", "[vm]\nname = \"x\"\nmemory = \"64M\"\n", Path::new("/"))
        .expect("it is good");
    assert_eq!((vm.cpus, vm.boot, vm.devices.len()), (1, Boot::OwnFirmware, 0));
    assert_eq!((vm.accelerator, vm.console), (AcceleratorChoice::Auto, ConsoleChoice::Log));
    assert_eq!(vm.vmm, "qemu-system-x86_64");
}

#[test]
fn any_text_is_decoded_or_refused() {
    let good = std::fs::read_to_string(folder().join("good.toml")).expect("it is there");
    // Every prefix, and every text with one character gone: most are wrong, none may panic.
    for (at, character) in good.char_indices() {
        let after = at + character.len_utf8();
        for text in [good[..at].to_owned(), format!("{}{}", &good[..at], &good[after..])] {
            if let Err(problems) = decode("vm.toml", &text, &folder()) {
                assert!(problems.codes().next().is_some(), "{text}");
            }
        }
    }
}
