//! Runs asynchronous code in a blocking handler.

use std::cell::RefCell;
use std::future::Future;

use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Runs a future to completion on this thread. The first call creates a runtime, which the thread keeps. Tasks that a
/// future leaves behind, such as the connections of a pool, are kept and continue to run during the next call.
///
/// # Panics
/// Panics in an asynchronous handler, which must use `await` instead, and if the runtime cannot be created.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime.get_or_insert_with(|| {
            let made = Builder::new_current_thread().enable_all().build();
            made.expect("a runtime can be made")
        });
        runtime.block_on(future)
    })
}
