//! Runs code that is not ours, and survives its panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what is not ours, on a thread that others depend on. If it panics: with what `panic!` was given,
/// a `&str` or a `String`, unless it was `panic_any`.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        // It is not ours either, and may panic as it is dropped.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(another);
        }
        text.unwrap_or_else(|| "no message".into())
    })
}
