//! What `strict` may hold against functions beyond their registers.
//!
//! David Gibson's list of ways in which functions can hurt each other that ACS says nothing of.
//! No register tells whether a device is prone to them, so each is the operator's choice, and what
//! it joins is marked unknown.

use std::str::FromStr;

/// Which of them count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// A function whose config space its own memory-mapped registers show can move itself over
    /// others of its bus.
    pub config_through_memory: bool,
    /// An error of one function takes the bus with it.
    pub bus_wide_errors: bool,
    /// Functions of one device disturb each other inside it, ACS or not.
    pub function_crosstalk: bool,
    /// Requests of any function may go out under function 0's requester id.
    pub function_zero_id: bool,
    /// The host bridge sees cycles of the root bus only after others on it could take them.
    pub decoded_before_host_bridge: bool,
}

impl Policy {
    /// Registers and nothing more.
    pub const NOTHING_MORE: Self = Self {
        config_through_memory: false,
        bus_wide_errors: false,
        function_crosstalk: false,
        function_zero_id: false,
        decoded_before_host_bridge: false,
    };

    /// The names of all.
    pub const NAMES: [&'static str; 5] = [
        "config-through-memory",
        "bus-wide-errors",
        "function-crosstalk",
        "function-zero-id",
        "decoded-before-host-bridge",
    ];

    fn settings(&self) -> [bool; 5] {
        [
            self.config_through_memory,
            self.bus_wide_errors,
            self.function_crosstalk,
            self.function_zero_id,
            self.decoded_before_host_bridge,
        ]
    }

    /// The names of those that count.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let settings = self.settings();
        Self::NAMES.into_iter().zip(settings).filter(|(_, set)| *set).map(|(name, _)| name)
    }
}

/// A name that no rule of the policy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsePolicyError;

impl FromStr for Policy {
    type Err = ParsePolicyError;

    /// Reads names with `+` between.
    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        let mut policy = Self::NOTHING_MORE;
        for name in text.split('+') {
            *match name {
                "config-through-memory" => &mut policy.config_through_memory,
                "bus-wide-errors" => &mut policy.bus_wide_errors,
                "function-crosstalk" => &mut policy.function_crosstalk,
                "function-zero-id" => &mut policy.function_zero_id,
                "decoded-before-host-bridge" => &mut policy.decoded_before_host_bridge,
                _ => return Err(ParsePolicyError),
            } = true;
        }
        Ok(policy)
    }
}

impl std::fmt::Display for ParsePolicyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "take of {}", Policy::NAMES.join(", "))
    }
}

impl std::error::Error for ParsePolicyError {}
