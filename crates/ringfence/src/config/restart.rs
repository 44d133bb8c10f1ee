//! The keys of a device that say whether its backend is started again when it dies.

use std::ops::RangeInclusive;

use super::reader::Table;
use crate::refusals;

/// How often in a row without a request completed. A fence gives more than that up by itself.
const IN_A_ROW: RangeInclusive<i64> = 1..=8;
const IN_A_ROW_DEFAULT: u32 = 8;

/// How many times in a row, without having completed a request in between, the backend is started
/// again. Zero is never.
pub(super) fn decode(table: &Table<'_>) -> u32 {
    let on = table.switch("restart").unwrap_or(true);
    let most = table.number("restart_max", IN_A_ROW);
    for key in ["restart", "restart_max"] {
        if table.has(key) && table.has("backend_socket") {
            let detail = format!("`{key}` is for a `backend` that is started, not a socket");
            table.report(&table.span(), &refusals::KEYS_EXCLUDE, detail);
        }
    }
    if !on && table.has("restart_max") {
        let detail = "`restart_max`: nothing is started again with `restart = false`".to_owned();
        table.report(&table.span(), &refusals::KEYS_EXCLUDE, detail);
    }
    let most = most.and_then(|most| u32::try_from(most).ok()).unwrap_or(IN_A_ROW_DEFAULT);
    if on { most } else { 0 }
}
