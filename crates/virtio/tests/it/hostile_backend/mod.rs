//! A hostile backend: whatever it does, guest memory changes only where a request in flight lets
//! it, and the VMM is answered.

mod answers;
mod completions;
mod descriptors;
mod requests;
mod window;
