//! That a ring is looked at by one thread, as the compiler sees it.
//!
//! A ring is shared with another process, which is hard enough. Were it shared between threads of
//! ours too, what one of them checked another could have changed.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::backend_queue::BackendQueue;
use crate::bounce::Bounce;
use crate::guest_queue::GuestQueue;

/// Makes what has it a thing of one thread at a time: it can be moved to another, not shared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OneThread(PhantomData<Cell<()>>);

/// Two ways to have the same for what can be shared, so that asking for it does not compile.
trait NotSync<A> {
    const IS: () = ();
}

struct Shared;

impl<T: ?Sized> NotSync<()> for T {}
impl<T: ?Sized + Sync> NotSync<Shared> for T {}

const _: () = <GuestQueue as NotSync<_>>::IS;
const _: () = <BackendQueue as NotSync<_>>::IS;
const _: () = <Bounce as NotSync<_>>::IS;
