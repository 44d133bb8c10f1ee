//! Which commands a VM's configuration comes to, before any of them is started.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;

use ringfence_jail::Profile;
use ringfence_refusal::Refusal;
use ringfence_vmm::Spec;
use ringfence_vmm::accelerator::Accelerator;
use ringfence_vmm::command_line::command_line;
use ringfence_vmm::program;
use ringfence_vmm::qemu::{Console, Machine, VhostUserDevice};

use super::{grants, own_program};
use crate::config::{AcceleratorChoice, Backend, ConsoleChoice, JailChoice, VhostUser, Vm};
use crate::runtime::{RunFolder, check_socket_path};
use crate::status::SUFFIX;

/// A command and what it is called in messages.
pub(super) struct Command {
    name: String,
    program: OsString,
    arguments: Vec<OsString>,
    owns_terminal: bool,
    jail: Option<Profile>,
    /// Variables besides a few of ours; none for all of ours.
    environment: Option<Vec<(String, String)>>,
}

/// Of our variables, those that backends and fences have too: our own may hold secrets.
const INHERITED: &[&str] = &["PATH", "LANG", "LC_ALL", "TERM", "TZ"];

impl Command {
    /// The command, ready to be started.
    pub(super) fn spec(&self) -> Spec {
        let mut spec =
            Spec::new(self.name.clone(), self.program.clone()).args(self.arguments.iter().cloned());
        if self.owns_terminal {
            spec.stdin = Stdio::inherit();
            spec.new_process_group = false;
        }
        spec.jail = self.jail.clone();
        if let Some(environment) = &self.environment {
            spec.inherits = Some(INHERITED);
            let variables = environment.iter().cloned();
            spec.env.extend(variables.map(|(name, value)| (name.into(), value.into())));
        }
        spec
    }
}

/// What one device comes to.
pub(super) struct DeviceCommands {
    pub(super) name: String,
    pub(super) backend: Option<Command>,
    pub(super) fence: Command,
    pub(super) backend_socket: PathBuf,
    pub(super) status_socket: PathBuf,
}

/// Everything a VM comes to.
pub(super) struct Commands {
    pub(super) devices: Vec<DeviceCommands>,
    pub(super) vmm: Command,
    pub(super) qmp_socket: PathBuf,
}

impl Commands {
    pub(super) fn plan(vm: &Vm, folder: &RunFolder) -> anyhow::Result<Self> {
        let mut devices = Vec::new();
        let mut machine_devices = Vec::new();
        for device in &vm.devices {
            let fence_socket = folder.socket(&format!("{}.sock", device.name))?;
            machine_devices.push(VhostUserDevice {
                id: device.name.clone(),
                kind: device.kind,
                socket: fence_socket.clone(),
                queues: device.queues,
                properties: device.properties.clone(),
            });
            devices.push(plan_device(device, folder, fence_socket)?);
        }
        let qmp_socket = folder.socket("control.qmp")?;
        let machine = Machine {
            name: vm.name.clone(),
            memory_bytes: vm.memory_bytes,
            cpus: vm.cpus,
            accelerator: match vm.accelerator {
                AcceleratorChoice::Auto => Accelerator::usable(),
                AcceleratorChoice::Tcg => Accelerator::Tcg,
                AcceleratorChoice::Kvm => Accelerator::Kvm,
            },
            boot: vm.boot.clone(),
            console: match vm.console {
                ConsoleChoice::Log => Console::Output,
                ConsoleChoice::Stdio => Console::Terminal,
            },
            qmp_socket: Some(qmp_socket.clone()),
            devices: machine_devices,
        };
        let vmm = Command {
            name: "the VMM".to_owned(),
            program: vm.vmm.clone(),
            arguments: machine.arguments(),
            owns_terminal: vm.console == ConsoleChoice::Stdio,
            // It is trusted with its own guest, and needs what the operator gives it.
            jail: None,
            environment: None,
        };
        Ok(Self { devices, vmm, qmp_socket })
    }

    /// Refuses programs that are not there, before any is started.
    pub(super) fn check_programs(&self) -> Result<(), Refusal> {
        let backends = self.devices.iter().filter_map(|device| device.backend.as_ref());
        for command in backends.chain([&self.vmm]) {
            program::find(&command.program).map_err(|refusal| refusal.within(&command.name))?;
        }
        Ok(())
    }
}

fn plan_device(
    device: &VhostUser,
    folder: &RunFolder,
    fence_socket: PathBuf,
) -> anyhow::Result<DeviceCommands> {
    let name = &device.name;
    let status_socket = folder.socket(&format!("{name}{SUFFIX}"))?;
    let (backend, backend_socket) = match &device.backend {
        Backend::Socket(path) => (None, path.clone()),
        Backend::Command { program, arguments, socket_suffix } => {
            // A folder of its own: next door are the fence's sockets and the VMM's control.
            let own = folder.make_folder(name)?;
            let given = own.join("backend");
            let socket = own.join(format!("backend{socket_suffix}"));
            check_socket_path(&socket)?;
            let arguments = Backend::arguments(arguments, &given);
            let jail = &device.jail;
            let jail = jail.on.then(|| grants::profile(jail, program, &arguments, &own));
            let command = Command {
                name: format!("the backend of {name}"),
                program: program.clone(),
                arguments,
                owns_terminal: false,
                jail,
                environment: Some(device.environment.clone()),
            };
            (Some(command), socket)
        }
    };
    let mut arguments: Vec<OsString> = ["fence", "vhost-user", "--quiet"].map(Into::into).into();
    for (option, value) in [
        ("--name", name.into()),
        ("--window", format!("{}B", device.window_bytes).into()),
        ("--listen", fence_socket.into_os_string()),
        ("--backend", backend_socket.clone().into_os_string()),
        ("--status", status_socket.clone().into_os_string()),
    ] {
        arguments.push(option.into());
        arguments.push(value);
    }
    if let Some(requests) = device.requests_per_second {
        arguments.extend(["--requests-per-second".into(), requests.to_string().into()]);
    }
    if let Some(bytes) = device.bytes_per_second {
        arguments.extend(["--bytes-per-second".into(), format!("{bytes}B").into()]);
    }
    if device.sealed_memory {
        arguments.push("--require-sealed-memory".into());
    }
    let jail = match device.jail {
        JailChoice { on: false, .. } => "off",
        JailChoice { required: true, .. } => "require",
        _ => "on",
    };
    arguments.extend(["--jail", jail].map(Into::into));
    let fence = Command {
        name: format!("the fence of {name}"),
        program: own_program()?.into(),
        arguments,
        owns_terminal: false,
        // It jails itself, once it has its sockets.
        jail: None,
        environment: Some(Vec::new()),
    };
    Ok(DeviceCommands { name: name.clone(), backend, fence, backend_socket, status_socket })
}

impl fmt::Display for Commands {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |command: &Command| {
            writeln!(formatter, "{}", command_line(&command.program, &command.arguments))
        };
        for device in &self.devices {
            if let Some(backend) = &device.backend {
                line(backend)?;
            }
            line(&device.fence)?;
        }
        line(&self.vmm)
    }
}
