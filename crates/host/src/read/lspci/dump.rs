//! Hexadecimal lines: `40: 01 10 da fe …`.

use crate::bar::Bar;
use crate::fact::{Fact, Unknown};
use crate::function::Function;
use crate::read::config_space;
use crate::read::hex::digit;
use crate::read::registers::{ConfigBytes, Gap};

/// Bytes a line.
const LINE: usize = 16;

/// The config space of one function, as far as lines followed one another.
#[derive(Default)]
pub(super) struct Dump(Vec<u8>);

/// Parts a hexadecimal line into its offset and its bytes.
pub(super) fn split(line: &str) -> Option<(usize, &str)> {
    let (offset, bytes) = line.split_once(": ")?;
    if !(2..=3).contains(&offset.len()) || !offset.bytes().all(|byte| digit(byte).is_some()) {
        return None;
    }
    Some((usize::from_str_radix(offset, 16).ok()?, bytes))
}

impl Dump {
    /// Takes one line; false if it does not follow the one before or is not 16 bytes.
    pub(super) fn take(&mut self, offset: usize, bytes: &str) -> bool {
        if offset != self.0.len() {
            return false;
        }
        let mut line = [0; LINE];
        let mut words = bytes.split_ascii_whitespace();
        for byte in &mut line {
            let Some([high, low]) = words.next().map(str::as_bytes) else { return false };
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return false };
            *byte = high << 4 | low;
        }
        if words.next().is_some() {
            return false;
        }
        self.0.extend_from_slice(&line);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Sets what the dump says, which counts for more than the text.
    pub(super) fn describe(&self, function: &mut Function, shows_extended: bool) {
        if self.0.is_empty() {
            return;
        }
        let beyond = match self.0.len() {
            4096.. => Gap::End,
            256 if shows_extended => Gap::End,
            _ => Gap::Unread(Unknown::NotInSource),
        };
        let mut read = Function::new(function.address);
        config_space::describe(&mut read, &mut ConfigBytes::new(&self.0, beyond));
        let identity = &mut function.identity;
        prefer(&mut identity.vendor, read.identity.vendor);
        prefer(&mut identity.device, read.identity.device);
        prefer(&mut identity.subsystem, read.identity.subsystem);
        prefer(&mut identity.class, read.identity.class);
        prefer(&mut identity.revision, read.identity.revision);
        prefer(&mut function.header, read.header);
        prefer(&mut function.multifunction, read.multifunction);
        prefer(&mut function.pcie, read.pcie);
        prefer(&mut function.acs, read.acs);
        prefer(&mut function.acs_double_word_control, read.acs_double_word_control);
        prefer(&mut function.memory, read.memory);
        function.bars = joined(std::mem::take(&mut function.bars), read.bars);
        function.registers = read.registers;
        prefer(&mut function.virtual_functions, read.virtual_functions);
    }
}

/// A register counts for more than words, words for more than no register.
fn prefer<T>(words: &mut Fact<T>, register: Fact<T>) {
    if register.is_known() || !words.is_known() {
        *words = register;
    }
}

/// Words say how large each is, registers do not; what registers do not have, words may.
fn joined(words: Fact<Vec<Bar>>, registers: Fact<Vec<Bar>>) -> Fact<Vec<Bar>> {
    let (Fact::Known(worded), Fact::Known(mut bars)) = (&words, registers.clone()) else {
        return if registers.is_known() || !words.is_known() { registers } else { words };
    };
    for bar in &mut bars {
        if let Some(word) = worded.iter().find(|word| word.index == bar.index) {
            bar.length = word.length;
        }
    }
    Fact::Known(bars)
}
