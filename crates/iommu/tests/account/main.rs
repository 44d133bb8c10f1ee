//! The account over a back end that fails on demand: what was refused left nothing, what failed is
//! counted, and nothing is given away that a device reaches.

mod batches;
mod crashes;
mod faults;
mod giving_back;
mod kit;
mod tables;
