//! A hostile guest, or a VMM that lost its mind: every case is refused by name, nothing reaches
//! the backend, and the next guest is served as if nothing had been.

mod chains;
mod escapes;
mod floods;
mod memory_tables;
mod messages;
mod rings;
mod shrinking;
mod toctou;
