//! Claims on hosts that are folders, with a kernel that is a model.

mod crashes;
mod failures;
mod fake;
mod keeping;
mod kernel;
mod lasting;
mod looking;
mod random;
mod refused;
