//! The memory that the connections of one write-ahead log share: zeroed regions that do not move.
//!
//! SQLite reads and writes it through the pointers it is given, from several threads, and orders that by its own locks
//! and barriers. Nothing in this crate ever reads or writes through them.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

/// One region. Words and not bytes, so that it lies as SQLite's integers need it.
#[derive(Debug)]
struct Region(*mut [u64]);

impl Region {
    fn new(bytes: usize) -> Self {
        Self(Box::into_raw(vec![0_u64; bytes.div_ceil(size_of::<u64>())].into_boxed_slice()))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `new` made the pointer from a box and nothing else frees it. Connections that could still use it hold
        // the `Memory` this region is in, so none does when it is dropped.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

// SAFETY: a region is owned memory without any tie to a thread; who may touch its content when is SQLite's affair.
unsafe impl Send for Region {}

/// All regions of one file, in order.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Vec<Region>>);

impl Memory {
    /// Where region `index` lies: regions up to it are made where `extend` says so; null where it is not there. It stays
    /// there for as long as this memory lives.
    pub(crate) fn region(&self, index: usize, bytes: usize, extend: bool) -> *mut c_void {
        let mut regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if extend {
            while regions.len() <= index {
                regions.push(Region::new(bytes));
            }
        }
        regions.get(index).map_or(std::ptr::null_mut(), |region| region.0.cast())
    }
}
