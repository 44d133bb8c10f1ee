//! The codes `RF0400`–`RF0439`: what a configuration or a verb was refused for.

use ringfence_refusal::Code;

/// Every code of this crate.
pub(crate) static CATALOGUE: &[&Code] = &[
    &NOT_TOML,
    &UNKNOWN_KEY,
    &MISSING_KEY,
    &WRONG_TYPE,
    &BAD_VALUE,
    &UNKNOWN_KIND,
    &KIND_NOT_YET,
    &KEYS_EXCLUDE,
    &FILE_NOT_THERE,
    &NAME_TAKEN,
    &NO_SOCKET,
    &ALREADY_RUNS,
    &FOLDER_NOT_OURS,
    &PATH_TOO_LONG,
    &SOMEBODY_LISTENS,
    &UNKNOWN_CODE,
    &NOT_FOR_YOU,
    &NOT_A_REQUEST,
    &NOT_A_VM,
    &LENT_ALREADY,
    &NOT_RECOVERED,
];

/// The file is not TOML at all.
pub(crate) static NOT_TOML: Code = Code {
    number: 401,
    name: "not TOML",
    sentence: "The configuration file is not TOML at the place shown.",
    remedy: "Correct the line shown; texts stand in double quotes, tables in brackets.",
    page: "A VM is described by a TOML file with one [vm] table and a [[device]] table per device. \
           Before any key is looked at, the file has to be TOML; the message is the parser's own.",
};

/// A key nobody knows.
pub(crate) static UNKNOWN_KEY: Code = Code {
    number: 402,
    name: "unknown key",
    sentence: "The configuration has a key that means nothing where it stands.",
    remedy: "Correct the key or take it out.",
    page: "The configuration is strict: a key that is not known is an error, because a misspelt \
           `window` that was silently ignored would leave a device with more memory than was meant. \
           The nearest key that is not yet used is named. What keys a [[device]] has depends on its \
           `kind`.",
};

/// A key that has to be there.
pub(crate) static MISSING_KEY: Code = Code {
    number: 403,
    name: "missing key",
    sentence: "The configuration lacks a key that has no default.",
    remedy: "Add the key; the message shows how it is written.",
    page: "Only what cannot be guessed has to be written: a VM's name and memory, a device's kind, \
           name, device type and who serves it.",
};

/// A value of the wrong type.
pub(crate) static WRONG_TYPE: Code = Code {
    number: 404,
    name: "wrong type of value",
    sentence: "A key of the configuration has a value of another type than it takes.",
    remedy: "Write the value as the message shows.",
    page: "Sizes are texts with their unit (\"512M\", \"64 MiB\"), because a bare number does not say \
           what it counts. Commands are lists of texts, one per argument, so that nothing has to be \
           quoted for a shell.",
};

/// A value outside its limits.
pub(crate) static BAD_VALUE: Code = Code {
    number: 405,
    name: "value not taken",
    sentence: "A key of the configuration has a value outside what it takes.",
    remedy: "Choose a value within what the message shows.",
    page: "Every value has limits, and the message shows them with their unit. Memory goes \
           in steps of 1 MiB, a window in steps of 4 KiB. The smallest window is one in which the \
           rings of a device and one large request fit; requests that do not fit at the moment wait \
           in the guest's own ring.",
};

/// A kind nobody knows.
pub(crate) static UNKNOWN_KIND: Code = Code {
    number: 406,
    name: "unknown kind of device",
    sentence: "A [[device]] has a kind that is not known.",
    remedy: "Write one of the kinds the message lists.",
    page: "The kind of a device says how it reaches guest memory, and so how it is held. \
           `vhost-user` is a virtio device served by another process.",
};

/// A kind this version cannot do.
pub(crate) static KIND_NOT_YET: Code = Code {
    number: 407,
    name: "kind of device not there yet",
    sentence: "A [[device]] has a kind that this version of Ringfence cannot hold yet.",
    remedy: "Take the device out, or use a version of Ringfence that has this kind.",
    page: "The kind `gpu` (a share of a mediated GPU) has its name reserved; a `pci` device (a host \
           function passed through) can be planned for, and not yet run. Ringfence never runs a \
           device it cannot hold, so a configuration that has one is refused as a whole.",
};

/// Keys that cannot stand together.
pub(crate) static KEYS_EXCLUDE: Code = Code {
    number: 408,
    name: "keys that exclude each other",
    sentence: "The configuration has keys that make no sense together.",
    remedy: "Take one of the keys out.",
    page: "A machine starts with a `kernel` (then `initrd` and `cmdline` go with it) or with \
           `firmware`, or with neither and the VMM's own firmware. A device is served by a \
           `backend` command that Ringfence starts or by a `backend_socket` that somebody else \
           serves.",
};

/// A file that is not there.
pub(crate) static FILE_NOT_THERE: Code = Code {
    number: 409,
    name: "file not there",
    sentence: "A file the configuration names is not there.",
    remedy: "Make the file or correct the path; it is relative to the configuration's folder.",
    page: "Paths in a configuration are relative to the folder the configuration file is in, not to \
           the folder Ringfence was started in, so that a configuration and what belongs to it can \
           be moved together. The quickstart's files are made by `cargo xtask lab`.",
};

/// Two devices of one name.
pub(crate) static NAME_TAKEN: Code = Code {
    number: 410,
    name: "name taken",
    sentence: "Two devices of one VM have the same name.",
    remedy: "Give each device a name of its own.",
    page: "A device's name is the name of its sockets, of its line in `status`, and of its id in \
           the VMM.",
};

/// A backend that is not told where to listen.
pub(crate) static NO_SOCKET: Code = Code {
    number: 411,
    name: "backend without its socket",
    sentence: "A backend's command is not told where to listen.",
    remedy: "Put {socket} into the argument that says where the backend listens.",
    page: "Ringfence chooses where a backend listens, in a folder only its user may enter, so that \
           nothing but the fence can talk to it. `{socket}` in the backend's arguments stands for \
           that path, as in `addr.path={socket}`.",
};

/// The VM runs already.
pub(crate) static ALREADY_RUNS: Code = Code {
    number: 412,
    name: "already runs",
    sentence: "A VM of this name, or the host service, is run by another process.",
    remedy: "Stop the other one, or give this VM another name; a host has one service.",
    page: "A running VM holds a lock on its folder below the runtime folder, and the host service on \
           its own. The lock goes with the process, however that ends, so what is said to run does \
           run. `ringfence status` shows a VM's devices, and which process keeps the claims.",
};

/// A folder somebody else could change.
pub(crate) static FOLDER_NOT_OURS: Code = Code {
    number: 413,
    name: "runtime folder not ours alone",
    sentence: "The folder for sockets belongs to, or is open to, somebody else.",
    remedy: "Remove the folder, or set XDG_RUNTIME_DIR to a folder of your own.",
    page: "Whoever can write where a backend listens can take its place. The runtime folder \
           ($XDG_RUNTIME_DIR/ringfence, else /run/ringfence for root, else /tmp/ringfence-UID) has \
           to be a real folder, owned by the user, with no access for others.",
};

/// A path too long for a socket.
pub(crate) static PATH_TOO_LONG: Code = Code {
    number: 414,
    name: "path too long for a socket",
    sentence: "The path of a Unix socket is longer than the kernel takes.",
    remedy: "Use a shorter path, or set XDG_RUNTIME_DIR to a folder with a short one.",
    page: "Linux takes at most 107 bytes as the path of a Unix socket.",
};

/// A socket that somebody serves.
pub(crate) static SOMEBODY_LISTENS: Code = Code {
    number: 415,
    name: "path in use",
    sentence: "The path a fence was to listen on is taken.",
    remedy: "Stop who listens there, remove the file, or choose another path.",
    page: "A socket left behind by a process that is gone is replaced. One that somebody listens on \
           is not, and a file that is no socket never is.",
};

/// A code nobody knows.
pub(crate) static UNKNOWN_CODE: Code = Code {
    number: 416,
    name: "unknown code",
    sentence: "There is no refusal with this code.",
    remedy: "Run `ringfence explain` without a code to see them all.",
    page: "Codes are written RF0101; small letters and missing zeros are taken too.",
};

/// Somebody who may not ask the host service.
pub(crate) static NOT_FOR_YOU: Code = Code {
    number: 417,
    name: "not yours to ask",
    sentence: "The host service does what it is asked by root and by its own user, and by nobody else.",
    remedy: "Ask as root, or as the user the service runs as.",
    page: "Whoever may have functions claimed or released decides which drivers are bound on the host. \
           The kernel tells the service whose process is at the other end of a connection; what that \
           process says of itself is not asked.",
};

/// Something that is no request.
pub(crate) static NOT_A_REQUEST: Code = Code {
    number: 418,
    name: "not a request",
    sentence: "The host service was asked something that it does not understand.",
    remedy: "Use the same version of ringfence for the service and for what talks to it; restart the \
             service after an upgrade.",
    page: "Between `ringfence serve` and the verbs that talk to it there is one version of one shape, \
           in JSON. What is longer than 4 MiB, not whole within 2 s, of another shape or about no \
           address is turned down, and changes nothing.",
};

/// Something that describes no VM.
pub(crate) static NOT_A_VM: Code = Code {
    number: 419,
    name: "not a VM",
    sentence: "What was given as a VM describes none, or leaves out what is needed.",
    remedy: "Give a TOML file of Ringfence's, what `virsh dumpxml` prints, a Proxmox VM configuration, or \
             --pid with a running QEMU.",
    page: "Which of them it is, is seen by its content. Of descriptions that are not Ringfence's own only \
           what decides where memory lies is read: memory, the machine, host functions, the processor, and \
           arguments added for QEMU. What is there and was not understood is said.",
};

/// A device of the same group has a holder.
pub(crate) static LENT_ALREADY: Code = Code {
    number: 420,
    name: "group lent already",
    sentence: "A function was to be lent whose group has a holder.",
    remedy: "Have one holder for all functions of a group, or end the one that has it.",
    page: "What is mapped for one function of an isolation group is mapped for all of them: the IOMMU does \
           not tell them apart, or they can reach each other without it. So one holder answers for all.",
};

/// Something of an earlier life may be reached still.
pub(crate) static NOT_RECOVERED: Code = Code {
    number: 421,
    name: "not recovered",
    sentence: "The host service died, and a device that reached memory then could not be cut off since.",
    remedy: "Look at the device named (`ringfence status`, the kernel's log); unplug or reset it, and start \
             the service again. Restarting the host is what always helps.",
    page: "What devices reach is written down in a journal that the service's supervisor keeps, with what \
           it takes to cut each device off. A service that starts after a crash does that before anything \
           else. Where it fails, nothing is served: memory that a device may write to could be given to \
           somebody.",
};
