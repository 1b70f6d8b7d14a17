//! What is being served: one snapshot, built from what the supervisor says, then only read.

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
    /// The manifest's version.
    pub generation: u32,
    /// Who answers what.
    pub table: Table,
    /// The functions, in the order the table numbers them.
    pub functions: Vec<Served>,
    /// What is refused.
    pub limits: GatewayLimits,
    /// One record per request.
    pub access_log: bool,
    /// What was answered for no function.
    pub unrouted: Arc<Classes>,
}

/// One function as the gateway serves it.
#[derive(Debug)]
pub struct Served {
    /// Its name in the manifest.
    pub name: String,
    /// Until the head of the response.
    pub timeout: Duration,
    /// Its workers.
    pub pool: Arc<Pool>,
}

impl Live {
    /// Builds it. Pools of functions that were served before are kept: those who wait in them wait on.
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
