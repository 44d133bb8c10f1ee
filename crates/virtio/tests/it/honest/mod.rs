//! Peers that keep to the rules: everything arrives, whatever the features, the order, the size
//! and the moment.

mod lifecycle;
mod memory;
mod quotas;
mod requests;
