//! The current snapshot: built from a message of the supervisor, then only read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_manifest::{GatewayLimits, Manifest};

use crate::pool::Pool;
use crate::route::Table;
use crate::tally::Classes;

/// One generation as the gateway serves it.
#[derive(Debug)]
pub struct Live {
    /// The number of the generation.
    pub generation: u32,
    /// The routing table.
    pub table: Table,
    /// The functions, in the order in which the routing table numbers them.
    pub functions: Vec<Served>,
    /// The limits on heads, bodies, connections and queues, and the timeouts of clients.
    pub limits: GatewayLimits,
    /// Whether each request is logged.
    pub access_log: bool,
    /// Counts responses to requests that belong to no function.
    pub unrouted: Arc<Classes>,
}

/// One function as the gateway serves it.
#[derive(Debug)]
pub struct Served {
    /// The function's name in the manifest.
    pub name: String,
    /// Time limit until the head of the response.
    pub timeout: Duration,
    /// The function's workers.
    pub pool: Arc<Pool>,
}

impl Live {
    /// Builds the snapshot. A function that was served before keeps its pool, so that the requests in its queue keep
    /// waiting.
    pub fn new(
        generation: u32,
        manifest: &Manifest,
        pools: &mut HashMap<String, Arc<Pool>>,
        unrouted: Arc<Classes>,
    ) -> Live {
        pools.retain(|name, pool| {
            let kept = manifest.functions.contains_key(name);
            if !kept {
                pool.close();
            }
            kept
        });
        let queue = manifest.gateway.limits.queue as usize;
        let new_pool = || Arc::new(Pool::new(queue));
        let functions = manifest
            .functions
            .iter()
            .map(|(name, function)| Served {
                name: name.clone(),
                timeout: function.timeout,
                pool: Arc::clone(pools.entry(name.clone()).or_insert_with(new_pool)),
            })
            .collect();
        Live {
            generation,
            table: Table::new(manifest),
            functions,
            limits: manifest.gateway.limits.clone(),
            access_log: manifest.gateway.access_log,
            unrouted,
        }
    }
}
