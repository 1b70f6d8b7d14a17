//! What can go wrong between a route and its answer. [`crate::reply`] turns these into statuses.

/// Why a request has no answer from its function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No byte of it was written to the worker.
    #[error("the worker ended before the request was sent")]
    NotSent,
    /// A reload took the function away while the request waited.
    #[error("the function is no longer served")]
    NotServed,
    /// The function has no worker, and none can be started.
    #[error("the function cannot be started: {0}")]
    CannotStart(std::sync::Arc<str>),
    /// The worker gave it back without starting it.
    #[error("the worker gave the request back: {0}")]
    Refused(String),
    /// The worker ended, or its connection did.
    #[error("the worker ended before it answered")]
    WorkerGone,
    /// The same, and it is known how.
    #[error("the worker ended before it answered: {0}")]
    WorkerEnded(std::sync::Arc<str>),
    /// The worker broke the rules of the wire.
    #[error("the worker broke the protocol: {0}")]
    Protocol(String),
    /// The worker ended the stream with an error.
    #[error("the worker failed: {0}")]
    Worker(String),
    /// The worker's head makes no HTTP response.
    #[error("the worker's answer is no valid response: {0}")]
    BadAnswer(String),
    /// The function's timeout passed before the head of the response.
    #[error("no answer within the function's timeout of {0:?}")]
    Timeout(std::time::Duration),
    /// The timeout passed while the request waited for a worker.
    #[error("no worker was free within the function's timeout of {0:?}")]
    QueueTimeout(std::time::Duration),
    /// Too many wait already.
    #[error("all workers are busy and {0} requests wait already")]
    QueueFull(usize),
    /// The request's body is longer than allowed.
    #[error("the body is longer than {0} bytes")]
    BodyTooLarge(u64),
    /// The request's head is longer than allowed, or than a frame can carry.
    #[error("the request's head is too large")]
    HeadTooLarge,
    /// The body stopped coming, or came in drips.
    #[error("too little of the body came for {0:?}")]
    BodyStalled(std::time::Duration),
    /// The body broke off or was malformed.
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
}

impl Failure {
    /// Whether another worker may be asked: `idempotent` says that the method allows to ask twice
    /// (RFC 9110, section 9.2.2) and that the body is still at hand.
    pub fn may_retry(&self, idempotent: bool) -> bool {
        match self {
            Failure::NotSent | Failure::Refused(_) => true,
            Failure::WorkerGone => idempotent,
            Failure::NotServed
            | Failure::CannotStart(_)
            | Failure::WorkerEnded(_)
            | Failure::Protocol(_)
            | Failure::Worker(_)
            | Failure::BadAnswer(_)
            | Failure::Timeout(_)
            | Failure::QueueTimeout(_)
            | Failure::QueueFull(_)
            | Failure::BodyTooLarge(_)
            | Failure::HeadTooLarge
            | Failure::BodyStalled(_)
            | Failure::BodyBroken(_) => false,
        }
    }
}
