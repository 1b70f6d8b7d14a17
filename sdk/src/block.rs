//! Waiting for something asynchronous in a handler that blocks.

use std::cell::RefCell;
use std::future::Future;

use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Runs a future to its end on this thread, with a runtime that is made once. What a future leaves
/// behind, as a pool its connections, is kept, and goes on with the next call.
///
/// # Panics
/// In an asynchronous handler, which has `await`; or if the runtime cannot be made.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime.get_or_insert_with(|| {
            let made = Builder::new_current_thread().enable_all().build();
            made.expect("a runtime can be made")
        });
        runtime.block_on(future)
    })
}
