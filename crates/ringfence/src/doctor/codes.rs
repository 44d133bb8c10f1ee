//! The codes `RF0440`–`RF0459`: what `doctor` finds that is no refusal of anybody's, so that `explain`
//! knows it.

use ringfence_refusal::Code;

/// Every code of `doctor`'s own.
pub(crate) static CATALOGUE: &[&Code] = &[
    &SILENT_HOLE,
    &GIVEN_UP,
    &NO_IOMMU,
    &BYPASS,
    &ACS_OVERRIDE,
    &UNSAFE_INTERRUPTS,
    &NOT_TRANSLATED,
    &ADDRESS_WIDTH,
    &NOT_READ,
    &OUTSIDER,
    &AT_RISK,
    &STOLEN,
    &NOT_BOUND,
];

/// Guest memory where the device's registers still point.
pub(crate) static SILENT_HOLE: Code = Code {
    number: 440,
    name: "guest memory on firmware's region",
    sentence: "Where the VMM puts guest memory by itself, a device of the VM goes on using host addresses \
               that firmware gave it, and nothing would say so.",
    remedy: "Start the VMM with what `ringfence plan VM --for qemu` (or libvirt, cloud-hypervisor) prints.",
    page: "Linux calls such a region direct-relaxable: it is mapped one to one for the host, and given up to \
           whoever takes the device through VFIO. Mapping guest memory over it succeeds without a word, \
           while registers that firmware set go on naming it: the device writes into the guest's memory, or \
           the guest into what the device works with. It shows as pictures gone black, as a driver that \
           gives up, or as memory that changes by itself. Memory placed by a plan keeps away.",
};

/// A region that VFIO gives up silently.
pub(crate) static GIVEN_UP: Code = Code {
    number: 441,
    name: "region given up without a word",
    sentence: "Firmware gave the device host memory that VFIO maps other memory over without a word.",
    remedy: "Plan every VM that gets the device: `ringfence doctor VM` says whether its memory would lie \
             there, `ringfence plan VM` where it can lie.",
    page: "A DMAR table reserves memory for graphics and for USB controllers; Linux lists it as \
           direct-relaxable and lets a VM have the device all the same. Nothing checks where the VM's \
           memory lies then. The ranges that VFIO reports as free to map leave such regions out of account.",
};

/// Nothing is isolated.
pub(crate) static NO_IOMMU: Code = Code {
    number: 442,
    name: "no IOMMU in use",
    sentence: "The kernel uses no IOMMU, so any device reaches any memory and none can be given away safely.",
    remedy: "Turn on VT-d, AMD-Vi or IOMMU in firmware setup, and boot with `intel_iommu=on` where the \
             kernel does not turn it on by itself.",
    page: "Three things must be there: the hardware, firmware that describes it (a DMAR, IVRS, IORT or VIOT \
           table), and a kernel that uses it. The finding names which of them is missing, as far as it can \
           be read. A virtual machine has an IOMMU only if its hypervisor gives it one.",
};

/// Parts of a device that do not go through the IOMMU.
pub(crate) static BYPASS: Code = Code {
    number: 443,
    name: "blocks that bypass the IOMMU",
    sentence: "Parts of the device reach some host memory whatever the IOMMU maps.",
    remedy: "Give such a device only to VMs of one owner, or clear that memory between them; a smaller \
             pre-allocation in firmware setup (DVMT) makes it less.",
    page: "Integrated graphics of Intel's works with memory that firmware took for it: the page table of \
           graphics addresses (GSM), its own memory (DSM), and at the top of that what its microcontrollers \
           run from (WOPCM). Display, the graphics page table and the microcontrollers GuC and HuC reach it \
           by host address. It belongs to no VM, and is not cleared when the device goes from one to the \
           next. That these accesses are not translated is taken from documents and drivers; it was not \
           tried on every generation.",
};

/// Groups that are asserted.
pub(crate) static ACS_OVERRIDE: Code = Code {
    number: 444,
    name: "groups split by an argument",
    sentence: "The kernel was told to believe isolation that the hardware does not claim.",
    remedy: "Boot without `pcie_acs_override`; `ringfence groups --model strict` shows the groups that \
             registers give.",
    page: "The argument is of a patch that distributions for virtualisation carry. It splits groups on \
           paper: functions in different groups can still reach each other beneath the IOMMU, and so the \
           memory of each other's VMs.",
};

/// Interrupts can be forged.
pub(crate) static UNSAFE_INTERRUPTS: Code = Code {
    number: 445,
    name: "interrupts not held",
    sentence: "A device can send any interrupt, so a VM that has one can interrupt the host as it likes.",
    remedy: "Boot without the argument; turn on interrupt remapping (x2APIC, VT-d) in firmware setup.",
    page: "Without interrupt remapping, a device's write to the interrupt window is taken for whatever it \
           says. VFIO refuses such hosts unless it is told to allow unsafe interrupts.",
};

/// Devices whose requests are not translated.
pub(crate) static NOT_TRANSLATED: Code = Code {
    number: 446,
    name: "devices not translated",
    sentence: "An argument of the kernel's leaves devices without translation.",
    remedy: "Boot without the argument.",
    page: "`intel_iommu=igfx_off` turns off the IOMMU of integrated graphics, which then reaches all memory \
           and is in no group. `iommu=pt` leaves devices of the host's own untranslated until VFIO takes \
           them: between a boot and a claim, and after a release, they reach all memory.",
};

/// How far devices reach.
pub(crate) static ADDRESS_WIDTH: Code = Code {
    number: 447,
    name: "address width",
    sentence: "An IOMMU translates so many bits of address, and nothing above can be mapped.",
    remedy: "Keep memory, memory to be plugged and base addresses of the VM below: `ringfence plan VM` does.",
    page: "Many client processors translate 39 bits, 512 GiB, while guest firmware puts 64-bit base \
           addresses as high as the guest's processor says it can address. VFIO fails to map what is above.",
};

/// A fact that decides is missing.
pub(crate) static NOT_READ: Code = Code {
    number: 448,
    name: "not read",
    sentence: "Something that decides was not read, so nothing is said about it.",
    remedy: "Run it as root, or from a snapshot that root made (`ringfence snapshot FILE`, then `--from FILE`).",
    page: "Firmware's tables and most registers are shown to root alone. What could not be read is never \
           guessed.",
};

/// A function that shares a VM's fate.
pub(crate) static OUTSIDER: Code = Code {
    number: 449,
    name: "function of the group outside the VM",
    sentence: "A function is isolated together with the VM's device and is not the VM's.",
    remedy: "Give all functions of the group to the VM, or leave the others without a driver.",
    page: "Between functions of one group isolation is not guaranteed: whoever drives one can reach what is \
           mapped for the other. `ringfence why` says why they are together.",
};

/// What a plan cannot rule out.
pub(crate) static AT_RISK: Code = Code {
    number: 450,
    name: "remains at risk",
    sentence: "Even as planned something cannot be ruled out.",
    remedy: "See what the finding names, and `ringfence plan VM` for the map it is about.",
    page: "A VMM cannot express every map. What a plan leaves open on this VMM is said, with the case it is.",
};

/// A graphics device's own memory.
pub(crate) static STOLEN: Code = Code {
    number: 451,
    name: "graphics memory",
    sentence: "The device has host memory of its own, and what the guest is shown of it must fit.",
    remedy: "Write `regions = \"identity\"` for the device on a machine whose low memory reaches over it.",
    page: "QEMU shows the guest the size of the host's stolen memory and lets its firmware put it elsewhere. \
           From generation 11 on drivers compare it with registers that name only the host's address, and \
           give up (Code 43, no GuC). Memory of the VM's at the host's address makes all of them agree.",
};

/// Not yet with VFIO.
pub(crate) static NOT_BOUND: Code = Code {
    number: 452,
    name: "not bound to VFIO",
    sentence: "The device is bound to a driver of the host's or to none, and not yet to one of VFIO's.",
    remedy: "Take its group: `ringfence claim ADDRESS`.",
    page: "libvirt and Proxmox bind a device when its VM starts, unless they are told not to; QEMU by itself \
           does not. What uses the device on the host loses it then.",
};
