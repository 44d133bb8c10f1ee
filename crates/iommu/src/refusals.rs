//! Everything that is refused before the kernel is asked, from `RF0901` on.

use ringfence_refusal::Code;

/// All of them, in order.
pub static CATALOGUE: &[&Code] = &[
    &OUTSIDE_APERTURE,
    &ALREADY_MAPPED,
    &NOT_MAPPED,
    &NOT_PAGES,
    &NOT_ALL_MAPPED,
    &BEYOND_REACH,
    &NO_RIGHT_LEFT,
    &NO_TABLES,
    &UNSUPPORTED,
    &NOT_THERE,
    &NO_ENTRY,
    &WITHDRAWN,
    &JOURNAL_UNFIT,
    &NO_DOMAIN,
    &NOT_CONFINED,
    &NAME_TAKEN,
    &NOT_LISTED,
    &NOT_A_MESSAGE,
    &NOT_YOURS,
];

ringfence_refusal::codes! {
    /// Bus addresses that cannot be translated.
    OUTSIDE_APERTURE = 901, "outside what can be mapped":
        "Bus addresses were to be mapped that lie outside every range the IOMMU translates.";
        "Plan the guest's memory (`ringfence plan`): the detail says which ranges there are.";
        "VFIO lists the ranges of bus addresses that can be mapped for a container. A mapping lies in one of \
         them; interrupt windows and regions of firmware's lie in none.";
    /// Bus addresses that are taken.
    ALREADY_MAPPED = 902, "bus addresses in use":
        "Bus addresses were to be mapped that are mapped already.";
        "Unmap what is there first, or choose other addresses.";
        "The kernel never replaces a mapping, and neither do we: a device would go on reaching what was there \
         until its translations are flushed.";
    /// Nothing is mapped so.
    NOT_MAPPED = 903, "not a mapping":
        "Bus addresses were to be unmapped that are no mapping, or only a part of one.";
        "Unmap exactly what was mapped.";
        "The kernel would take whole mappings away that lie in what it is given, and say how much that was. So \
         only whole mappings are unmapped here.";
    /// No whole pages.
    NOT_PAGES = 904, "not whole pages":
        "Addresses or lengths to be mapped are no multiple of a page, or memory and bus addresses differ in \
         length.";
        "Round outward to multiples of 4 KiB, and give as much memory as bus addresses.";
        "An IOMMU translates pages. What lies beside a piece of a page would be reachable, too.";
    /// A page of them is not mapped.
    NOT_ALL_MAPPED = 905, "not all of it mapped":
        "Bus addresses were to be unmapped, or their rights narrowed, and a page of them is not mapped.";
        "Name only what is mapped: the detail says which page is not.";
        "In page tables of our own any page can be taken out of a mapping. What is asked for is done as a \
         whole or not at all, so that whoever asks knows afterwards that every page he named was there and is \
         gone.";
    /// An entry cannot name this memory.
    BEYOND_REACH = 906, "memory beyond the IOMMU's reach":
        "Memory was to be mapped whose address is higher than the IOMMU's tables can say.";
        "Use lower memory: the detail says which there is.";
        "An entry of a page table has room for 52 address bits, and an IOMMU may have fewer (`HAW` in the \
         DMAR, `PASize` in the IVRS). A higher address would be cut to another one.";
    /// A mapping that lets nobody do anything.
    NO_RIGHT_LEFT = 907, "no right left":
        "A mapping was to let devices neither read nor write.";
        "Unmap it: a page with no rights is a page that is not mapped.";
        "Rights only narrow. Where narrowing would leave none, the entry would say that nothing is mapped \
         there, while whoever asked believed that something was.";
    /// The memory set apart for tables is used up.
    NO_TABLES = 908, "no room for page tables":
        "The memory that was set apart for an IOMMU's page tables is used up.";
        "Map larger and better aligned pieces, or set more memory apart; what was unmapped gives its tables \
         back once it is flushed.";
        "Tables are counted before anything is changed, so nothing is half mapped. Pages of 2 MiB and 1 GiB, \
         used wherever both addresses are aligned to them, need the fewest.";
    /// The IOMMU has no such tables.
    UNSUPPORTED = 909, "no such page tables":
        "The IOMMU does not walk page tables with so many levels.";
        "Choose one of the numbers in the detail.";
        "VT-d says in its capability register which numbers of levels it walks (`SAGAW`), AMD's IOMMU up to how \
         many (`HATS`). The number is fixed when the tables are made: an IOMMU could see it change before the \
         topmost table does.";
    /// Memory that is not there.
    NOT_THERE = 910, "memory that is not there":
        "More memory was to be mapped than there is of it.";
        "Map what there is: the detail says how much.";
        "Behind every mapping is memory of a process or a file, of a length that is known when it is given. \
         Beyond it there is nothing, or something of somebody else's.";
    /// The kernel's entries are used up.
    NO_ENTRY = 911, "no entry left":
        "The kernel keeps so many mappings for one container and no more.";
        "Map in larger blocks, unmap what is no longer used, or raise `dma_entry_limit` of the module \
         `vfio_iommu_type1`.";
        "VFIO's type 1 counts mappings, 65,535 unless its parameter says otherwise, whatever their size. \
         Neighbours that are mapped in one call share an entry, within the grain that was chosen; a \
         larger grain takes fewer entries, and memory is given back in larger pieces then.";
    /// Another entry of the batch was refused.
    WITHDRAWN = 912, "withdrawn with its batch":
        "Nothing was wrong with this entry; another of the same batch was refused, and all or nothing was \
         asked for.";
        "Mend the entry that was refused, or ask for the batch to be carried out as far as it goes.";
        "A batch is carried out as its sender asked: all of it or nothing, or whatever of it is possible. \
         Where it is all or nothing, what had been mapped of it is taken out again, and flushed.";
    /// It is no journal.
    JOURNAL_UNFIT = 913, "unfit for a journal":
        "A file that was to hold the journal is not sealed against being shortened, not of a journal's \
         length, or too short for one mapping more.";
        "Give the service a journal of its own making, or let it make one with more room.";
        "What devices reach is written down in a file without a name which the supervisor of the service \
         holds, too. It must not be possible to shorten it: whoever reads it would be ended by a signal. \
         Each mapping has a slot of 64 bytes in it; a mapping without one is not made.";
    /// The holder has no device.
    NO_DOMAIN = 914, "no device behind the holder":
        "A holder was to reach memory with a device, and has none.";
        "Map it for the holder's process only, or enter the holder with its device.";
        "A mapping in bus addresses is made in the tables of one device's IOMMU. A holder that is a process \
         alone has none.";
    /// A device that reaches memory nobody mapped for it.
    NOT_CONFINED = 915, "not confined":
        "A device was to be held by an IOMMU through which it reaches memory although nothing is mapped.";
        "Look at whether the IOMMU is switched on for this device, and whether its tables are the ones that \
         were made for it.";
        "QEMU, for one, does not translate for a device that was named before its IOMMU on the command line, \
         and says nothing. So before a device is called confined, addresses at both ends of what can be \
         mapped are tried, with nothing mapped.";
    /// Somebody has that name.
    NAME_TAKEN = 916, "somebody has that name":
        "A virtual machine, or a holder of its memory, wants a name that another one has.";
        "Give each VM, and each device of one VM, a name of its own; or wait until the one before is tidied up.";
        "Names are how target lists speak of those who are not there yet. Of one name there is one at a \
         time; that of somebody who is gone stays taken while something of his may be reached.";
    /// It is on no target list.
    NOT_LISTED = 917, "not on the target list":
        "A holder is not on the target list of the owner whose memory it wants, or the list is full.";
        "Put it there: `targets` in the VM's file, or `ringfence target add`.";
        "Which holder may map whose memory is the owner's to say, by name. Nobody may unless he is listed: \
         such a holder cannot even join.";
    /// It makes no sense.
    NOT_A_MESSAGE = 918, "not a message":
        "What was sent to the account makes no sense.";
        "Use one version of ringfence for the service and for what talks to it.";
        "Messages have a length and a kind; control is JSON, batches are entries of a fixed length of which \
         there are at most 4,096. What is none of this is refused as a whole, and nothing of it is done.";
    /// It is for somebody else to ask.
    NOT_YOURS = 919, "not yours to ask":
        "An owner asked for what holders do, or a holder for what owners do, or somebody for a second role.";
        "Make one connection for each role.";
        "What a connection is follows from its first message and stays: an owner gives memory and takes it \
         back, a holder maps it. Neither can speak for the other.";
}
