//! Everything `device` refuses, `RF0700` to `RF0799`.

use ringfence_refusal::{Code, codes};

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[
    &DISK,
    &ROUTE,
    &CONSOLE,
    &PARTIAL,
    &NO_GROUP,
    &DIRECT_REGION,
    &NO_FUNCTION,
    &NO_DRIVER,
    &DRIVER_KEEPS,
    &NOT_BOUND,
    &NOT_RESTORED,
    &CLAIMED,
    &IN_WORK,
    &INTERRUPTED,
    &NOT_CLAIMED,
    &JOURNAL,
    &NOT_VIABLE,
    &CHANGED,
    &NOT_OURS,
    &PROGRAM_PATH,
    &NOTHING_STOLEN,
    &STOLEN_ODD,
    &NOT_SCRUBBED,
    &ENTRIES_NOT_RESTORED,
    &BASE_CHANGED,
    &NOT_MEMORY,
    &TOO_MUCH_MEMORY,
    &OVERLAY,
    &STILL_LENT,
    &NOT_OF_THE_VM,
];

/// The host runs from a disk behind the function.
pub static DISK: Code = Code {
    number: 701,
    name: "holds a disk in use",
    sentence: "A function of the group is on the way to a disk that this host has mounted or swaps to.",
    remedy: "Unmount it or stop swapping to it first (umount, swapoff, vgchange -an); a root disk needs \
             another controller.",
    page: "A claim takes the function away from the host's driver, and with it every disk behind it. \
           Mounts and swap are followed through partitions, device mapper, LVM, RAID, multipath and \
           btrfs down to the PCI functions on their way. A mounted ZFS does not say in /sys where it \
           lies, so while there is one, no function that has a disk is taken.",
};

/// The host's default route goes out through the function.
pub static ROUTE: Code = Code {
    number: 702,
    name: "holds the default route",
    sentence: "A function of the group is the network interface that the default route goes out through.",
    remedy: "Give the host another way out first, or remove the default route if it needs none.",
    page: "A claim takes the interface away, and with it the connection through which the operator may \
           be working. Default routes of IPv4 and IPv6 are followed through bridges, bonds and VLANs. \
           Looked at are the routes of the network namespace in which the command runs.",
};

/// The host's console is on the function.
pub static CONSOLE: Code = Code {
    number: 703,
    name: "holds the console",
    sentence: "A function of the group is what the host's console is shown on or typed at.",
    remedy: "Take the console off it first: echo 0 > /sys/class/vtconsole/vtcon1/bind for a screen, with the \
             number that the message has; another console= argument for a serial line.",
    page: "The kernel's messages and the last way to log in go through the console: a serial line, a \
           framebuffer, or the card firmware booted with while a virtual console draws on it. Once \
           the virtual console is unbound the card is as free as any other.",
};

/// Others of the group would be left behind.
pub static PARTIAL: Code = Code {
    number: 704,
    name: "part of a group",
    sentence: "The functions to be claimed are not a whole group of this kernel's.",
    remedy: "Claim the whole group (ringfence groups shows it; --model observed takes it as it is), or \
             part it (ringfence why says what would).",
    page: "Between functions of one group isolation is not guaranteed: one could write where another's \
           VM reads. The kernel hands out whole groups only, whatever a finer model says of them. So \
           all functions of the group are claimed, or none.",
};

/// Nothing isolates the function.
pub static NO_GROUP: Code = Code {
    number: 705,
    name: "in no group",
    sentence: "The function is in no isolation group, so nothing keeps its requests within bounds.",
    remedy: "Turn the IOMMU on: in firmware (VT-d, AMD-Vi, SMMU) and on the kernel's command line \
             (intel_iommu=on); ringfence groups says what is missing.",
    page: "Groups are made by an IOMMU driver when it takes charge of a function. Without one the \
           function reaches all memory there is. On machines that describe their IOMMU by device tree \
           or VIOT, older kernels give a function its group only when a driver is bound to it.",
};

/// Firmware wants memory mapped one to one.
pub static DIRECT_REGION: Code = Code {
    number: 706,
    name: "firmware maps memory for it",
    sentence: "Firmware demands that memory stays mapped one to one for a function of the group.",
    remedy: "Turn off the firmware feature that uses the device (shared management memory, legacy USB, \
             option ROM), or move the card to another slot.",
    page: "An RMRR of Intel's, a unity map of AMD's or a reserved memory region on Arm says that the \
           device goes on accessing this memory behind the operating system's back. The kernel keeps \
           the mapping and refuses the group to VFIO (EINVAL, with a line in its log). Regions that \
           are relaxable, as those of USB and graphics are, do not stand in the way.",
};

/// There is no such function.
pub static NO_FUNCTION: Code = Code {
    number: 707,
    name: "no such function",
    sentence: "There is no PCI function at the address.",
    remedy: "Look the address up again: ringfence groups, or lspci -D.",
    page: "Addresses shift when cards are added or removed and when bridges get other bus numbers. A \
           claim that has to outlast that is made with claim --persist, which finds functions by where \
           they are plugged in.",
};

/// The driver to take it is not there.
pub static NO_DRIVER: Code = Code {
    number: 708,
    name: "no vfio-pci",
    sentence: "The driver that is to take the functions is not loaded.",
    remedy: "Load it: modprobe vfio-pci.",
    page: "Functions are held through the kernel's driver vfio-pci. It is a module on most systems, \
           loaded on demand. Ringfence does not load modules by itself.",
};

/// A driver that will not let go.
pub static DRIVER_KEEPS: Code = Code {
    number: 709,
    name: "driver does not let go",
    sentence: "A driver was asked to let go of a function and did not, or did not answer in time.",
    remedy: "End what uses the device (a VM, a sound server, a display server; fuser names the process), \
             then run ringfence claim --recover.",
    page: "The kernel asks the driver to let go and waits, for as long as that takes. vfio-pci waits \
           until the VM that has the function closes it; a sound driver until the last stream ends; a \
           driver with a bug for ever. Ringfence asks from a process of its own, with a deadline. When \
           the deadline passes, the other functions of the group are given back; this one is in the \
           kernel's hands, the journal remembers it, and nobody works on the claim until the kernel \
           has answered.",
};

/// A function came to another driver, or to none.
pub static NOT_BOUND: Code = Code {
    number: 710,
    name: "not bound as asked",
    sentence: "After a function was given to a driver, it was bound to another one or to none.",
    remedy: "Read the kernel's log for what the driver said; stop what binds drivers beside us \
             (driverctl, udev rules, libvirt's managed devices).",
    page: "A probe that finds no driver is a success to the kernel, so Ringfence reads back which driver \
           is bound. vfio-pci turns down bridges, functions without an isolation group, and virtual \
           functions' parents it cannot reset; the kernel turns down a host driver in a group that \
           somebody holds. Everything done so far is undone.",
};

/// Not everything is as it was.
pub static NOT_RESTORED: Code = Code {
    number: 711,
    name: "not given back whole",
    sentence: "Some functions could not be given back to the drivers of before.",
    remedy: "Remove what is in the way, named in the message, and run ringfence claim --recover: the \
             journal remembers what is left to do.",
    page: "Giving back means: vfio-pci lets go, the override of before is back, the driver of before is \
           bound. It fails when that driver has been unloaded, will not take the device any more, or \
           when somebody bound another meanwhile. Each function is given back by itself, so the others \
           have their drivers. The claim stays in the journal, and recovery tries again.",
};

/// Somebody has it.
pub static CLAIMED: Code = Code {
    number: 712,
    name: "claimed already",
    sentence: "A function of the group is in a claim that stands.",
    remedy: "Release it first: ringfence release with the address of any of its functions.",
    page: "A function is in one claim at most. Claims are kept under /run/ringfence/claims, named by \
           where their first function is plugged in, until they are released or the host reboots.",
};

/// Somebody works on it.
pub static IN_WORK: Code = Code {
    number: 713,
    name: "claim in work",
    sentence: "Another process works on the claim, or holds it.",
    remedy: "Wait for it, or end it: fuser on the claim's journal names it.",
    page: "Whoever claims, releases, recovers or holds a claim has its journal locked. The lock is the \
           kernel's and ends with the process, so it cannot be left behind. A write to the kernel that \
           has not been answered keeps it too, even when the one who asked is gone.",
};

/// Somebody was interrupted.
pub static INTERRUPTED: Code = Code {
    number: 714,
    name: "claim interrupted",
    sentence: "A function of the group is in a claim that was interrupted half way.",
    remedy: "Bring it back to before: ringfence claim --recover.",
    page: "The process that made or released the claim was killed. Its journal says how far it came; \
           recovery undoes that much and no more.",
};

/// Nobody has it.
pub static NOT_CLAIMED: Code = Code {
    number: 715,
    name: "not claimed",
    sentence: "No claim has this function, so there is nothing to release.",
    remedy: "See which claims there are: ringfence claim without an address lists them.",
    page: "Only what Ringfence claimed can be given back by it, because only then does it know which \
           driver was there before. A function that something else bound to vfio-pci is released by \
           whatever did that.",
};

/// A journal that makes no sense.
pub static JOURNAL: Code = Code {
    number: 716,
    name: "garbled journal",
    sentence: "The journal of a claim is not one that Ringfence wrote.",
    remedy: "Look at the file that is named; give the functions back by hand if need be, then remove it.",
    page: "Every line of a journal has a checksum and a number. A torn last line is what a crash leaves \
           behind, and is taken as not written. A bad line with others after it is not: the file was \
           edited, or the disk lost it. Acting on what is left could bind drivers nobody meant, so \
           nothing is done.",
};

/// The kernel does not give the group away.
pub static NOT_VIABLE: Code = Code {
    number: 717,
    name: "group not viable",
    sentence: "The kernel refuses to give the group to anybody.",
    remedy: "Take out what is in the way, named in the message; ringfence claim takes whole groups.",
    page: "A group is given away only whole: every function in it bound to a driver of VFIO's or to \
           none, bridges to their port driver. The kernel answers with a bare number (EPERM, EBUSY, \
           EINVAL, ENODEV) that has several causes each. The message names the functions in the way \
           with their drivers where they can be seen, and otherwise what the number can mean.",
};

/// Another function is where a persisted one was.
pub static CHANGED: Code = Code {
    number: 718,
    name: "not the function it was",
    sentence: "A persisted claim finds another function where its own was plugged in.",
    remedy: "Put the card back, persist the claim again as things are now, or have it forgotten \
             (ringfence release --persist with the function's address).",
    page: "A persisted claim knows its functions by where they are plugged in, in slots from the root \
           down, and by who made them and what they are. Bus numbers and the kernel's group numbers \
           may change; a different card in the slot is not the one that was meant, and giving it to a \
           VM could hand over a disk or the network. So nothing is claimed.",
};

/// A file of somebody else's is where one of ours has to be.
pub static NOT_OURS: Code = Code {
    number: 719,
    name: "not Ringfence's file",
    sentence: "A file that a persisted claim needs is there already, and Ringfence did not write it.",
    remedy: "Move the file away, or remove the link (systemctl unmask for a unit), then persist again.",
    page: "A persisted claim needs a udev rule, a unit, a list of modules and a hook of what makes the \
           initramfs. Each begins with a line that says who wrote it. A file without that line is an \
           operator's own; a link to /dev/null in its place switches it off on purpose. Neither is \
           overwritten, and nothing is written at all.",
};

/// The program is where no rule can name it.
pub static PROGRAM_PATH: Code = Code {
    number: 720,
    name: "program not at a plain path",
    sentence: "The program is at a path that rules, units and scripts of the boot cannot name safely.",
    remedy: "Install it, to /usr/local/bin for one, and persist the claim with the installed one.",
    page: "At boot the program is started by udev, by systemd and in the initramfs. Each has its own \
           rules for spaces, quotes, dollars and percent signs in a path, so only letters, digits and \
           / . _ + - are taken. The path of a program that was replaced while it ran ends in \
           \" (deleted)\" and is turned down for the same reason.",
};

codes! {
    /// There is nothing to scrub.
    NOTHING_STOLEN = 721, "no memory of its own":
        "The function is no graphics device that firmware took memory for, or not one that is known here.";
        "Name an integrated graphics function of Intel's, of Sandy Bridge or later; others keep nothing in \
         memory of the host's.";
        "Integrated graphics of Intel's has memory that firmware took from the host for it. What a VM left \
         there, frames and keys, the next VM can read: neither a reset nor VFIO clears it. Ringfence \
         scrubs designs whose registers it knows, from Sandy Bridge to Panther Lake. Graphics cards clear \
         or lose their own memory by a reset, each in its own way, and are not scrubbed here.";

    /// The registers contradict each other.
    STOLEN_ODD = 722, "graphics memory makes no sense":
        "The graphics function's registers say something of its memory that cannot be.";
        "Look at what is named; a firmware update, another size of graphics memory in the firmware's setup, or \
         none, usually mends it.";
        "Before anything is written to a graphics function, what its registers say of its memory has to go \
         together: sizes that the design has, what firmware keeps for itself inside of it, a page table as \
         long as BAR 0 has room for. Linux, too, uses none of that memory where this does not hold.";

    /// It was not cleared.
    NOT_SCRUBBED = 723, "graphics memory not cleared":
        "The graphics function's memory was not seen to become zero.";
        "Do not give the function to another VM before the host was restarted; where the message says that \
         BAR 2 does not show that memory, boot with intel_iommu=igfx_off or give the VM identity regions, \
         which keep it away from this memory.";
        "Each page of the memory is marked and its mark looked for through another entry of the page table \
         before it is cleared, and read back afterwards. A mark that is not found means that the memory \
         is not reached: the page table cannot be written, the device keeps to entries it had \
         remembered, or the IOMMU turns its requests away, which differs between generations. Then \
         nothing that reads as zero proves anything, so nothing is said to be cleared. What firmware \
         left for drivers (a power context of a few pages, which the scrub lists as left alone) is never \
         cleared: VMs that work together could pass a message there.";

    /// The page table could not be put back.
    ENTRIES_NOT_RESTORED = 724, "graphics page table not restored":
        "Entries of the graphics function's page table are not what they were before the scrub.";
        "Restart the host before anybody uses the function; a reset of it alone may not do.";
        "A scrub borrows entries of the page table at the end of the aperture and puts them back. If that \
         cannot be done the device may show, or use, memory at graphics addresses nobody meant. The \
         driver of the next VM sets its entries up anew, so this matters to who relies on those firmware \
         made: a screen that firmware set up.";

    /// A region is elsewhere than the plan says.
    BASE_CHANGED = 725, "not where the plan has it":
        "The opened function says that its memory is elsewhere than the plan was made for.";
        "Plan again with what this host says now: a new snapshot (ringfence snapshot), or without --from.";
        "A plan places a VM's memory around numbers that a device's registers hold. They come from a \
         snapshot or from a file, and firmware chooses them anew after an update, another setting or \
         more memory. A guest that runs with the old numbers gives its device memory of the host's, or \
         its own to nobody. So they are read again from the device itself, once it is open and nobody \
         else can use it, and both values are shown.";

    /// A descriptor of guest memory that is none.
    NOT_MEMORY = 726, "no file of memory":
        "A VMM gave something for its guest's memory that is no file of memory.";
        "Back the guest's memory with memory-backend-memfd,share=on, and let no device's memory be mapped for \
         another device (QEMU: x-no-mmap=on for what is not served by Ringfence).";
        "A served function reaches memory of the guest's that the VMM gives as a descriptor of a memfd, or of a \
         file in tmpfs or hugetlbfs. A file on a disk cannot be kept in place for a device; a file of somebody's \
         own file system could keep the kernel waiting; and memory of another device (a BAR) would have to be \
         taken away whenever that device is moved or turned off, so it is not mapped for devices at all.";
    /// More than can be mapped for one function.
    TOO_MUCH_MEMORY = 727, "too much memory for a function":
        "A VMM wanted a function to reach more memory, or in more pieces, than can be mapped for one.";
        "Say how much memory the VM has (memory in its file): blocks are as large as that needs them to be. If it \
         is right, give the guest no emulated IOMMU, or larger pages to map.";
        "Memory is mapped in blocks, each of which can be taken back by itself: 2 MiB, or more for a VM that would \
         have too many of them. The kernel keeps 65535 mappings for a container.";
    /// What nothing is shown in place of.
    OVERLAY = 728, "not to be shown in config space":
        "A value was to be shown to a guest where config space has to be the function's own, or cannot say it.";
        "Plan again: ringfence plan.";
        "A plan can have a guest see other values of registers that name memory of the host's. It cannot have it \
         see another command register, other base addresses, or a base that the register has no bits for.";
    /// Somebody has it open.
    STILL_LENT = 729, "lent still":
        "Somebody has a function of the claim open, or a part of its memory mapped.";
        "End the VMM it was lent to, then ask again.";
        "A VMM that is served a function gets the function's file, to map its registers from. While it has it, \
         or a mapping of it, the function is not given to another VM: what the VMM of before wrote to those \
         registers would happen in the next VM. The kernel tells: it lets a group out of its container only when \
         none of its functions is open.";
    /// Memory that is not the VM's.
    NOT_OF_THE_VM = 730, "memory of nobody's":
        "A VMM wanted a function to reach memory that is not its VM's, by what the VM was given.";
        "Plan again (ringfence plan) if the VM's memory has changed; memory that is plugged in later, or shared \
         between VMs, is not for functions to reach.";
        "Which memory a VM has is said by its plan: so much of it, at these addresses. What the VMM sends the \
         first time for such an address is taken for it, and known again by its file from then on. Anything else \
         is nobody's memory, and nobody's to reach.";
}
