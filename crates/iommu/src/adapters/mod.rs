//! The account in the forms that other VMMs have for what maps memory and what looks mappings up.
//!
//! One device by one account that others use, too: each call has it to itself for as long as it takes.

mod lookup;
mod mapper;

use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_refusal::Fault;

use crate::account::Account;

pub use lookup::Lookup;
pub use mapper::Mapper;

/// An account that several have.
pub type Common<M> = Arc<Mutex<Account<M>>>;

/// The account to oneself, unless somebody came to grief with it.
fn have<M>(account: &Common<M>) -> Result<MutexGuard<'_, Account<M>>, Fault> {
    account.lock().map_err(|_| {
        let error = std::io::Error::other("whoever used it last did not finish");
        Fault::new("use", "an account", error)
    })
}
