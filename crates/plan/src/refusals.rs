//! Everything the planner refuses, from `RF0801` on.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[
    &DIRECT_REGION,
    &SHARED_REGION,
    &NOT_EXPRESSIBLE,
    &OUT_OF_REACH,
    &RESERVED_IN_MEMORY,
    &UNSATISFIABLE,
    &POLICY_REFUSES,
    &HOTPLUG,
    &TWO_GRAPHICS,
    &NO_ROOM,
    &NO_FENCES,
    &NOT_GRAPHICS,
    &WRONG_MACHINE,
    &CANNOT_BE_TOLD,
    &NO_GUEST_ADDRESS,
    &NOT_BY_VIOMMU,
];

ringfence_refusal::codes! {
    /// A region the kernel never gives up.
    DIRECT_REGION = 801, "device with a region mapped one to one":
        "Firmware requires a region of the host's memory to stay mapped one to one for the device, and VFIO \
         refuses such devices.";
        "Switch off in firmware setup what uses the region, update the firmware, or give another device; \
         `direct_regions = \"allow\"` is for hosts whose kernel was changed to give them up.";
        "An RMRR of DMAR, an IVMD entry of IVRS or an RMR of IORT says that the device goes on using host \
         memory behind the operating system's back. Linux keeps it mapped one to one, and a VM's memory \
         cannot be mapped for the device at the same time: VFIO fails with EINVAL and the kernel says \
         \"Firmware has requested this device have a 1:1 IOMMU mapping\". For USB controllers and graphics \
         behind VT-d it gives the region up instead (direct-relaxable), which is when it must be planned \
         around.";
    /// A region of several devices of which the VM has only some.
    SHARED_REGION = 802, "region shared with other devices":
        "A region belongs to devices inside and outside the VM.";
        "Give all of them to the same VM, or write `shared_regions = \"allow\"` if firmware no longer uses \
         the region once the operating system runs.";
        "Firmware gave one piece of memory to several devices, as it does for USB controllers whose \
         keyboards it emulates. Two owners of such devices would share a buffer that neither knows of.";
    /// The VMM cannot place memory so.
    NOT_EXPRESSIBLE = 803, "beyond the VMM":
        "What was asked to be done about a region cannot be expressed to this VMM.";
        "Ask for `hole`, take a machine whose low memory reaches over the region (i440fx: 3 GiB, q35: 2 GiB), \
         or a VMM that places pieces of memory itself.";
        "`identity` needs the VM's own memory at the host's address. QEMU and Cloud Hypervisor lay memory \
         from 0 up to a point below 4 GiB and from 4 GiB on; a region beyond that point has none, and there \
         is no option for one more piece. `relocate` and `none` need a VMM that shows the device's registers \
         changed. The ideal plan, for a VMM built on a library, says what would be possible.";
    /// Memory ends above what can be translated.
    OUT_OF_REACH = 804, "beyond the reach of devices":
        "Memory would end above what the IOMMU translates or the guest can address.";
        "Give the VM less memory, or raise `address_bits` if it was set below the host's.";
        "Many client processors translate 39 bits of bus address: 512 GiB. What lies above cannot be mapped \
         for any device, and VFIO fails when the VMM tries.";
    /// Memory where nothing can be mapped.
    RESERVED_IN_MEMORY = 805, "memory where nothing may be mapped":
        "The guest's memory would lie where nothing can be mapped for devices, and the VMM cannot leave it out.";
        "Give the VM less memory, so that it ends below; for HyperTransport's hole take QEMU with a vCPU of \
         AMD's (`vcpu = \"amd\"`).";
        "Interrupt windows and HyperTransport's last 12 GiB below 1 TiB are not translated. VFIO refuses to \
         map there and the VMM fails to start, or worse, later when memory is plugged. QEMU moves memory \
         above 1 TiB only if the guest's processor calls itself AMD's, whatever the host's is.";
    /// Memory is needed where none can be.
    UNSATISFIABLE = 806, "two regions that exclude each other":
        "Memory is needed for a device where nothing can be mapped or the machine has something fixed.";
        "Ask for `hole` for the device, or take a machine that has nothing fixed there.";
        "A real example: an RMR of 256 MiB that lies on the window where the kernel puts the interrupt \
         controller's page. Both cannot be had at the same address.";
    /// Asked for.
    POLICY_REFUSES = 807, "refused as asked":
        "A device has a region, and the VM's file says to refuse it then.";
        "Choose another policy for the device, or another device.";
        "`regions = \"refuse\"` is for those who would rather not start than run beside a region of \
         firmware's.";
    /// No place for memory to be plugged.
    HOTPLUG = 808, "no place for memory to be plugged":
        "The span where memory would be plugged lies on a region or beyond what devices reach.";
        "Ask for less memory to be plugged, or for all of it from the start.";
        "QEMU puts that span right above memory, in whole GiB and one more for each slot, and cannot move it. \
         Memory plugged over a region is refused by VFIO then, or is reached by the device.";
    /// Two integrated graphics devices.
    TWO_GRAPHICS = 809, "two graphics devices":
        "A VM cannot have two integrated graphics devices.";
        "Give the VM one of them.";
        "Where a device's own memory is, is told to the guest's firmware by an interface that is there once.";
    /// A part does not fit.
    NO_ROOM = 810, "no room":
        "A party wants more of a space than is free in one piece.";
        "Ask for less, or for fewer parties.";
        "Parts are given out in order, each at the lowest place that fits. Nobody gets anything if one does \
         not fit. The detail says how much there was.";
    /// Not enough fences.
    NO_FENCES = 811, "too few fences":
        "Parties want more fences than the device has.";
        "Ask for fewer fences each, or for fewer parties.";
        "A fence describes one tiled surface in the aperture. Devices have 16 or 32.";
    /// A policy for graphics alone.
    NOT_GRAPHICS = 812, "not a graphics device's memory":
        "A policy for the memory of graphics devices was asked for another region.";
        "Ask for `hole`, `reserve` or `identity`.";
        "`relocate` and `none` change what a graphics device's registers say of its own memory. Other regions \
         of firmware's are named by no register that a VMM could show changed.";
    /// A plan for another machine.
    WRONG_MACHINE = 813, "plan for another machine":
        "A plan for one machine was to be told to a VMM that runs another.";
        "Name the machine in the VM's file (`machine = ...`), or choose the consumer that runs it.";
        "Where memory lies depends on the machine: what QEMU's q35 leaves free, Cloud Hypervisor uses. A plan is told only to those who would come out at its map.";
    /// Not all of a plan can be told.
    CANNOT_BE_TOLD = 814, "cannot be told":
        "A consumer cannot express something of the plan.";
        "The detail names the alternative.";
        "A plan that is told only in part would come out as another map, and nobody would notice before memory is overwritten. So it is told whole or not at all.";
    /// The guest's IOMMU has no name for a device.
    NO_GUEST_ADDRESS = 815, "no address in the guest":
        "A region must be told to the guest's IOMMU, and where the guest finds its device is not known.";
        "Write `guest_address = \"0000:00:02.0\"` to the device, and have the VMM put it there; or ask for \
         `hole`.";
        "The guest's IOMMU maps nothing at the region's addresses for the device unless a table of the \
         guest's says that it must. Such a table names devices by their addresses in the guest, which are \
         not those on the host.";
    /// The guest's IOMMU cannot be had, or not be told.
    NOT_BY_VIOMMU = 816, "beyond the guest's IOMMU":
        "The machine cannot give the guest this IOMMU, or the IOMMU cannot be told of a region.";
        "The detail names the alternative.";
        "QEMU has `intel-iommu` and `amd-iommu` for q35 alone, and what it lets one say of virtio-iommu on \
         a PC is refused by itself. The tables that describe a virtio-iommu have no reserved regions: the \
         device answers with them when it is asked, as addresses not to be used, never as addresses to be \
         mapped one to one. SMMUs are Arm's.";
}
