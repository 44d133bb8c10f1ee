//! Devices that use requester ids beside their own, or in another way than others do.
//!
//! The ids are facts of `drivers/pci/quirks.c` in Linux 6.12.

/// Which requester ids of its bus a device uses beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uses {
    /// Function 0 of its slot.
    FunctionZero,
    /// Function 1 of its slot.
    FunctionOne,
    /// These device and function numbers, each as one byte.
    Fixed(&'static [u8]),
    /// The first five functions of every slot.
    FiveOfEverySlot,
    /// All of its bus.
    All,
    /// Those in a table that only its own memory-mapped registers show.
    InItsRegisters,
}

/// Devices that use other ids.
pub(crate) struct AliasRow {
    pub(crate) vendor_name: &'static str,
    pub(crate) vendor: u16,
    pub(crate) devices: &'static [u16],
    /// Subsystem ids it takes, or none for all.
    pub(crate) subsystems: &'static [(u16, u16)],
    pub(crate) uses: Uses,
}

/// All that are known.
pub(crate) static ALIAS_ROWS: &[AliasRow] = &[
    AliasRow {
        vendor_name: "Ricoh",
        vendor: 0x1180,
        devices: &[0xe832, 0xe476],
        subsystems: &[],
        uses: Uses::FunctionZero,
    },
    AliasRow {
        vendor_name: "Glenfly",
        vendor: 0x6766,
        devices: &[0x3d40, 0x3d41],
        subsystems: &[],
        uses: Uses::FunctionZero,
    },
    AliasRow {
        vendor_name: "Marvell",
        vendor: 0x1b4b,
        devices: &[
            0x9120, 0x9123, 0x9125, 0x9128, 0x9130, 0x9170, 0x9172, 0x917a, 0x9182, 0x9183, 0x91a0,
            0x9215, 0x9220, 0x9230, 0x9235,
        ],
        subsystems: &[],
        uses: Uses::FunctionOne,
    },
    AliasRow {
        vendor_name: "HighPoint",
        vendor: 0x1103,
        devices: &[0x0642, 0x0645],
        subsystems: &[],
        uses: Uses::FunctionOne,
    },
    AliasRow {
        vendor_name: "JMicron",
        vendor: 0x197b,
        devices: &[0x2392],
        subsystems: &[],
        uses: Uses::FunctionOne,
    },
    AliasRow {
        vendor_name: "Plextor",
        vendor: 0x1c28,
        devices: &[0x0122],
        subsystems: &[],
        uses: Uses::FunctionOne,
    },
    AliasRow {
        vendor_name: "Adaptec",
        vendor: 0x9005,
        devices: &[0x0285],
        subsystems: &[(0x9005, 0x02bb), (0x9005, 0x02bc)],
        uses: Uses::Fixed(&[0x08]),
    },
    AliasRow {
        vendor_name: "Intel MIC x200",
        vendor: 0x8086,
        devices: &[0x2260, 0x2264],
        subsystems: &[],
        uses: Uses::Fixed(&[0x80, 0x88, 0x93]),
    },
    AliasRow {
        vendor_name: "Intel VCA",
        vendor: 0x8086,
        devices: &[0x2954, 0x2955, 0x2956, 0x2958, 0x2959, 0x295a],
        subsystems: &[],
        uses: Uses::FiveOfEverySlot,
    },
    AliasRow {
        vendor_name: "PLX",
        vendor: 0x10b5,
        devices: &[0x87b0, 0x87b1],
        subsystems: &[],
        uses: Uses::All,
    },
    AliasRow {
        vendor_name: "Microsemi Switchtec",
        vendor: 0x11f8,
        devices: &[
            0x8531, 0x8532, 0x8533, 0x8534, 0x8535, 0x8536, 0x8541, 0x8542, 0x8543, 0x8544, 0x8545,
            0x8546, 0x8551, 0x8552, 0x8553, 0x8554, 0x8555, 0x8556, 0x8561, 0x8562, 0x8563, 0x8564,
            0x8565, 0x8566, 0x8571, 0x8572, 0x8573, 0x8574, 0x8575, 0x8576, 0x4000, 0x4084, 0x4068,
            0x4052, 0x4036, 0x4028, 0x4100, 0x4184, 0x4168, 0x4152, 0x4136, 0x4128, 0x4200, 0x4284,
            0x4268, 0x4252, 0x4236, 0x4228, 0x4352, 0x4336, 0x4328, 0x4452, 0x4436, 0x4428, 0x4552,
            0x4536, 0x4528, 0x5000, 0x5084, 0x5068, 0x5052, 0x5036, 0x5028, 0x5100, 0x5184, 0x5168,
            0x5152, 0x5136, 0x5128, 0x5200, 0x5284, 0x5268, 0x5252, 0x5236, 0x5228, 0x5300, 0x5384,
            0x5368, 0x5352, 0x5336, 0x5328, 0x5400, 0x5484, 0x5468, 0x5452, 0x5436, 0x5428, 0x5500,
            0x5584, 0x5568, 0x5552, 0x5536, 0x5528,
        ],
        subsystems: &[],
        uses: Uses::InItsRegisters,
    },
    AliasRow {
        vendor_name: "Microchip Switchtec",
        vendor: 0x1055,
        devices: &[0x1001, 0x1002, 0x1003, 0x1004, 0x1005, 0x1006],
        subsystems: &[],
        uses: Uses::InItsRegisters,
    },
];

/// Bridges from PCI Express that do not show a PCI Express capability.
pub(crate) static HIDDEN_PCIE_BRIDGES: &[(u16, u16)] =
    &[(0x1b21, 0x1080), (0x10e3, 0x8113), (0x1283, 0x8892), (0x1283, 0x8893), (0x8086, 0x244e)];

/// Bridges below which the IOMMU of the bus translates (Broadcom Vulcan, Cavium ThunderX2): what
/// is above has no part in it.
pub(crate) static TRANSLATION_ROOTS: &[(u16, u16)] = &[(0x14e4, 0x9000), (0x14e4, 0x9084)];

/// Bridges whose downstream requests keep their own ids although the type says otherwise, since
/// Linux 7.3 (ASPEED).
pub(crate) static BRIDGES_WITHOUT_ALIAS: &[(u16, u16)] = &[(0x1a03, 0x1150)];

/// Switches whose source validation is broken, so that Linux 7.3 does without it (IDT).
pub(crate) static WITHOUT_SOURCE_VALIDATION: &[(u16, u16)] = &[(0x111d, 0x80b5), (0x111d, 0x8090)];

/// Intel Volume Management Devices.
pub(crate) static VMD_ENDPOINTS: &[u16] =
    &[0x201d, 0x28c0, 0x467f, 0x4c3d, 0xa77f, 0x7d0b, 0xad0b, 0x9a0b, 0xb60b, 0xb06f];
