//! An allocator that ends the process when a reader trusts the length in a damaged field. Sanitizers have their own
//! limit, but the long runs do not use them.

use std::alloc::{GlobalAlloc, Layout, System};

/// The largest allocation: much more than any input, any simulated machine and any window needs.
pub const ALLOCATION_BYTES_MAX: usize = 64 << 20;

/// The system's allocator, for allocations of at most [`ALLOCATION_BYTES_MAX`].
pub struct Bounded;

fn check(bytes: usize) {
    if bytes > ALLOCATION_BYTES_MAX {
        eprintln!("an allocation of {bytes} bytes");
        std::process::abort();
    }
}

// Sound because every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(bytes);
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}
