//! Keeping a function from its bus, from whatever thread finds that it must be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_iommu::Switch;
use ringfence_refusal::Failure;

use super::config::{Config, Why};
use super::port::Port;

/// Turns a served function's bus mastering off and keeps it off, whatever its guest writes.
///
/// A VMM that was lent the function's file can write past this (see [`super::Lending`]), so this is never
/// all that is done about a function that must not reach memory: its mappings go, too.
#[derive(Debug)]
pub struct Fence<P>(pub(super) Arc<Mutex<Config<P>>>);

impl<P> Clone for Fence<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Port> Fence<P> {
    /// Whether the function is kept from its bus.
    pub fn is_fenced(&self) -> bool {
        self.config().is_fenced()
    }

    fn config(&self) -> MutexGuard<'_, Config<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Port> Switch for Fence<P> {
    fn off(&mut self) -> Result<(), Failure> {
        Ok(self.config().fence(Why::Told)?)
    }

    /// From here on the guest can turn bus mastering on again; nothing here does.
    fn on(&mut self) -> Result<(), Failure> {
        self.config().unfence(Why::Told);
        Ok(())
    }
}
