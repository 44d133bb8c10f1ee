//! Changes to a host, applied to the value: what its groups would be then.
//!
//! A change makes another [`Host`], which any model takes as it takes one that was read. Nothing is
//! done to the machine.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ringfence_addr::PciAddress;

use crate::acs::{Acs, AcsBits};
use crate::fact::{Fact, Unknown};
use crate::host::Host;

pub(crate) mod apply_move;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIf {
    /// A function's ACS control register is another.
    Acs {
        /// The function.
        address: PciAddress,
        /// What its ACS control is set to.
        setting: AcsSetting,
    },
    /// A device, with all below it, is in the slot below a bridge.
    Move {
        /// A function of the device.
        address: PciAddress,
        /// The bridge.
        below: PciAddress,
    },
    /// A device, with all below it, is not there.
    Remove {
        /// A function of the device.
        address: PciAddress,
    },
    /// The kernel's command line lacks a word.
    WithoutArgument {
        /// The word, as it stands there.
        word: String,
    },
}

/// What an ACS control register is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcsSetting {
    /// All that is required for isolation; a function without the capability gets one.
    On,
    /// Nothing.
    Off,
    /// These bits to these values, the others as they were: as `pci=config_acs=` has it.
    Bits {
        /// Which bits change.
        mask: AcsBits,
        /// What they become.
        value: AcsBits,
    },
}

/// A change that cannot be made to this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIfError {
    /// The text is not a change.
    Unreadable {
        /// The text, cut.
        text: String,
        /// What it should look like.
        wanted: &'static str,
    },
    /// The function is not there.
    NoFunction(PciAddress),
    /// It is not a bridge.
    NotABridge(PciAddress),
    /// The slot below the bridge holds something.
    SlotTaken {
        /// The bridge.
        below: PciAddress,
        /// What is there.
        by: PciAddress,
    },
    /// The device is above the bridge, and cannot be below itself.
    BelowItself(PciAddress),
    /// There are not enough bus numbers.
    NoBusLeft,
    /// Bits can be set only where there is a capability.
    NoCapability(PciAddress),
    /// The word is not on the command line.
    NoArgument(String),
}

impl WhatIf {
    /// Reads what follows `--set`: `0000:00:1c.0:acs=on`, `off`, or bits as `config_acs` has them.
    ///
    /// # Errors
    ///
    /// The text is something else.
    pub fn parse_set(text: &str) -> Result<Self, WhatIfError> {
        const WANTED: &str = "ADDRESS:acs=on, ADDRESS:acs=off, or ADDRESS:acs= and bits as \
                              pci=config_acs has them (0, 1 and x, source validation last)";
        let error = || unreadable(text, WANTED);
        let (address, setting) = text.rsplit_once(":acs=").ok_or_else(error)?;
        let address = address.parse().map_err(|_| error())?;
        Ok(Self::Acs { address, setting: setting.parse().map_err(|()| error())? })
    }

    /// Reads what follows `--move`: `0000:02:00.0:0000:00:1c.4`, a function and the bridge to be
    /// above it.
    ///
    /// # Errors
    ///
    /// The text is something else.
    pub fn parse_move(text: &str) -> Result<Self, WhatIfError> {
        let error = || unreadable(text, "ADDRESS:BRIDGE, such as 0000:02:00.0:0000:00:1c.4");
        let mut pairs = text.match_indices(':').filter_map(|(at, _)| {
            let address = text[..at].parse().ok()?;
            let below = text[at + 1..].parse().ok()?;
            Some(Self::Move { address, below })
        });
        pairs.next_back().ok_or_else(error)
    }

    /// Reads an option of the kernel's `pci=`: `config_acs=xx111x1@0000:00:1c.0`.
    ///
    /// # Errors
    ///
    /// The text is something else, or names devices in another way than by address.
    pub fn parse_kernel(text: &str) -> Result<Vec<Self>, WhatIfError> {
        const WANTED: &str = "config_acs=BITS@ADDRESS[;BITS@ADDRESS] or disable_acs_redir=ADDRESS";
        let error = || unreadable(text, WANTED);
        let text = text.strip_prefix("pci=").unwrap_or(text);
        if let Some(list) = text.strip_prefix("disable_acs_redir=") {
            let redirect =
                AcsBits::REQUEST_REDIRECT | AcsBits::COMPLETION_REDIRECT | AcsBits::EGRESS_CONTROL;
            let setting = AcsSetting::Bits { mask: redirect, value: AcsBits::empty() };
            let addresses = list.split([';', ',']).map(str::parse);
            return addresses
                .map(|address| Ok(Self::Acs { address: address.map_err(|_| error())?, setting }))
                .collect();
        }
        let list = text.strip_prefix("config_acs=").ok_or_else(error)?;
        let each = list.split([';', ',']).map(|item| {
            let (bits, address) = item.split_once('@').ok_or_else(error)?;
            let address = address.parse().map_err(|_| error())?;
            let setting = bits_of(bits).ok_or_else(error)?;
            Ok(Self::Acs { address, setting })
        });
        each.collect()
    }

    /// The host with the change made.
    ///
    /// # Errors
    ///
    /// The change cannot be made to this host.
    pub fn apply(&self, host: &Host) -> Result<Host, WhatIfError> {
        self.apply_and_follow(host).map(|(changed, _)| changed)
    }

    /// The host with the change made, and where functions went that have other addresses now.
    ///
    /// # Errors
    ///
    /// The change cannot be made to this host.
    pub fn apply_and_follow(
        &self,
        host: &Host,
    ) -> Result<(Host, BTreeMap<PciAddress, PciAddress>), WhatIfError> {
        Self::apply_all_and_follow(std::slice::from_ref(self), host)
    }

    /// The host with all changes made, in order.
    ///
    /// # Errors
    ///
    /// One of them cannot be made.
    pub fn apply_all(changes: &[Self], host: &Host) -> Result<Host, WhatIfError> {
        Self::apply_all_and_follow(changes, host).map(|(changed, _)| changed)
    }

    /// The host with all changes made, and where the last one took functions.
    pub(crate) fn apply_all_and_follow(
        changes: &[Self],
        host: &Host,
    ) -> Result<(Host, BTreeMap<PciAddress, PciAddress>), WhatIfError> {
        let mut changed = host.clone();
        let mut places = BTreeMap::new();
        for change in changes {
            places = change.make(&mut changed)?;
        }
        if changes.is_empty() {
            return Ok((changed, places));
        }
        // What the kernel made of the registers as they were says nothing of these.
        for function in changed.functions.values_mut() {
            if function.kernel_group.known().copied().flatten().is_some() {
                function.kernel_group = Fact::Unknown(Unknown::NotInSource);
            }
        }
        Ok((changed, places))
    }

    /// Makes the change, and says where functions went.
    fn make(&self, host: &mut Host) -> Result<BTreeMap<PciAddress, PciAddress>, WhatIfError> {
        match self {
            Self::Acs { address, setting } => set_acs(host, *address, *setting)?,
            Self::Move { address, below } => return apply_move::place(host, *address, *below),
            Self::Remove { address } => _ = apply_move::take(host, *address)?,
            Self::WithoutArgument { word } => remove_argument(host, word)?,
        }
        Ok(BTreeMap::new())
    }
}

fn unreadable(text: &str, wanted: &'static str) -> WhatIfError {
    WhatIfError::Unreadable { text: text.chars().take(64).collect(), wanted }
}

fn set_acs(host: &mut Host, address: PciAddress, setting: AcsSetting) -> Result<(), WhatIfError> {
    let function = host.functions.get_mut(&address).ok_or(WhatIfError::NoFunction(address))?;
    let had = function.acs.known().copied().flatten();
    let control = had.and_then(|acs| acs.control.known().copied());
    let control = match setting {
        AcsSetting::On => control.unwrap_or(AcsBits::empty()) | AcsBits::REQUIRED,
        AcsSetting::Off => AcsBits::empty(),
        AcsSetting::Bits { mask, value } => {
            let before = control.ok_or(WhatIfError::NoCapability(address))?;
            (before - mask) | (value & mask)
        }
    };
    let (offset, capability) = match had {
        Some(acs) => (acs.offset, acs.capability.known().copied().unwrap_or(AcsBits::REQUIRED)),
        None if setting == AcsSetting::On => (0, AcsBits::REQUIRED),
        None => return Err(WhatIfError::NoCapability(address)),
    };
    let control = control & capability;
    let acs = Acs { offset, capability: Fact::Known(capability), control: Fact::Known(control) };
    function.acs = Fact::Known(Some(acs));
    // The double word of Sunrise Point is where the control is there.
    function.acs_double_word_control = Fact::Known(u32::from(control.bits()));
    Ok(())
}

fn remove_argument(host: &mut Host, word: &str) -> Result<(), WhatIfError> {
    let error = || WhatIfError::NoArgument(word.to_owned());
    let line = host.kernel.command_line.known().ok_or_else(error)?;
    if !line.split_whitespace().any(|other| other == word) {
        return Err(error());
    }
    let left: Vec<_> = line.split_whitespace().filter(|other| *other != word).collect();
    host.kernel.command_line = Fact::Known(left.join(" "));
    Ok(())
}

impl FromStr for AcsSetting {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            bits => bits_of(bits).ok_or(()),
        }
    }
}

/// Bits as the kernel's `config_acs` has them: 0, 1 or x for each, source validation last.
fn bits_of(text: &str) -> Option<AcsSetting> {
    if text.is_empty() || text.len() > 7 {
        return None;
    }
    let (mut mask, mut value) = (AcsBits::empty(), AcsBits::empty());
    for (place, letter) in text.chars().rev().enumerate() {
        let bit = AcsBits::from_bits_retain(1 << place);
        match letter {
            '0' => mask |= bit,
            '1' => {
                mask |= bit;
                value |= bit;
            }
            'x' | 'X' => {}
            _ => return None,
        }
    }
    Some(AcsSetting::Bits { mask, value })
}

impl fmt::Display for WhatIf {
    /// As the command line of `groups` takes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acs { address, setting } => write!(formatter, "--set {address}:acs={setting}"),
            Self::Move { address, below } => write!(formatter, "--move {address}:{below}"),
            Self::Remove { address } => write!(formatter, "--remove {address}"),
            Self::WithoutArgument { word } => write!(formatter, "--without-argument {word}"),
        }
    }
}

impl fmt::Display for AcsSetting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On => formatter.write_str("on"),
            Self::Off => formatter.write_str("off"),
            Self::Bits { mask, value } => {
                for place in (0..7).rev() {
                    let bit = AcsBits::from_bits_retain(1 << place);
                    let letter = match (mask.contains(bit), value.contains(bit)) {
                        (false, _) => 'x',
                        (true, false) => '0',
                        (true, true) => '1',
                    };
                    write!(formatter, "{letter}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for WhatIfError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { text, wanted } => {
                write!(formatter, "{text:?} is not a change: write {wanted}")
            }
            Self::NoFunction(address) => write!(formatter, "there is no function {address}"),
            Self::NotABridge(address) => {
                write!(formatter, "{address} is not a bridge: nothing can be put below it")
            }
            Self::SlotTaken { below, by } => {
                write!(formatter, "the slot below {below} holds {by}: name one that is free")
            }
            Self::BelowItself(address) => {
                write!(formatter, "{address} has that bridge below it, and cannot be below itself")
            }
            Self::NoBusLeft => write!(formatter, "the domain has no bus number left for the move"),
            Self::NoCapability(address) => write!(
                formatter,
                "{address} shows no ACS control register whose bits could change: acs=on asks \
                 what it would be with one"
            ),
            Self::NoArgument(word) => {
                write!(formatter, "{word:?} is not on the kernel's command line")
            }
        }
    }
}

impl std::error::Error for WhatIfError {}
