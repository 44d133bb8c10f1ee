//! A terminal lent to the VMM, given back as it was.
//!
//! A VMM that owns the terminal switches it to passing on every key. One that is killed cannot
//! switch it back, and would leave a shell that shows nothing of what is typed.

use std::io::IsTerminal;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// How the terminal was; restored when dropped.
pub(super) struct Lent(Option<Termios>);

impl Lent {
    /// Remembers how the terminal is, if there is one.
    pub(super) fn standard_input() -> Self {
        let input = std::io::stdin();
        Self(input.is_terminal().then(|| tcgetattr(&input).ok()).flatten())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs nothing restored.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}
