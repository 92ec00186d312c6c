//! What the program asks of whoever runs it: the time, random numbers, and to print a line.
#![allow(unsafe_code)] // Calls to the host are unsafe.

use std::panic;

use dewar::store::Timestamp;

mod imported {
    #[link(wasm_import_module = "host")]
    unsafe extern "C" {
        /// Milliseconds since the Unix epoch: JavaScript's `Date.now()`.
        pub(super) safe fn now() -> f64;
        pub(super) fn print(text: *const u8, length: usize);
        #[cfg(target_os = "unknown")]
        pub(super) fn random(bytes: *mut u8, length: usize);
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(imported::now() as u64)
}

/// From here on the host prints why the program panics.
pub(crate) fn show_panics() {
    panic::set_hook(Box::new(|why| {
        let text = why.to_string();
        // SAFETY: the text lives until the host has returned.
        unsafe { imported::print(text.as_ptr(), text.len()) }
    }));
}

/// The application's own random numbers, where the platform has none: getrandom's custom backend.
#[cfg(target_os = "unknown")]
pub(crate) mod random {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How often the host was asked.
    pub(crate) static CALLS: AtomicUsize = AtomicUsize::new(0);

    /// # Safety
    ///
    /// `bytes` points to `length` bytes that may be written.
    #[unsafe(no_mangle)]
    unsafe extern "Rust" fn __getrandom_v03_custom(bytes: *mut u8, length: usize) -> Result<(), getrandom::Error> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the host fills exactly these bytes, or throws.
        unsafe { super::imported::random(bytes, length) };
        Ok(())
    }
}
