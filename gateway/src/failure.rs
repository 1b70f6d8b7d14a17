//! Failures between a route and its response. [`crate::reply`] turns them into statuses.

/// Why a request gets no response from its function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No byte of the request was written to the worker.
    #[error("the worker ended before the request was sent")]
    NotSent,
    /// A reload removed the function while the request waited.
    #[error("the function is no longer served")]
    NotServed,
    /// The function has no worker, and none can be started.
    #[error("the function cannot be started: {0}")]
    CannotStart(std::sync::Arc<str>),
    /// The worker returned the request without starting it.
    #[error("the worker gave the request back: {0}")]
    Refused(String),
    /// The worker or its connection ended.
    #[error("the worker ended before it answered")]
    WorkerGone,
    /// The worker ended, and the supervisor has reported how.
    #[error("the worker ended before it answered: {0}")]
    WorkerEnded(std::sync::Arc<str>),
    /// The worker broke the rules of the protocol.
    #[error("the worker broke the protocol: {0}")]
    Protocol(String),
    /// The worker ended the stream with an error.
    #[error("the worker failed: {0}")]
    Worker(String),
    /// The worker's head is not the head of a valid HTTP response.
    #[error("the worker's answer is no valid response: {0}")]
    BadAnswer(String),
    /// The function's timeout passed before the head of the response arrived.
    #[error("no answer within the function's timeout of {0:?}")]
    Timeout(std::time::Duration),
    /// The timeout passed while the request waited for a worker.
    #[error("no worker was free within the function's timeout of {0:?}")]
    QueueTimeout(std::time::Duration),
    /// The queue is full; the number is its length.
    #[error("all workers are busy and {0} requests wait already")]
    QueueFull(usize),
    /// The request's body is longer than allowed.
    #[error("the body is longer than {0} bytes")]
    BodyTooLarge(u64),
    /// The request's head is longer than allowed, or longer than a frame can carry.
    #[error("the request's head is too large")]
    HeadTooLarge,
    /// The client sent too little of the body in this time.
    #[error("too little of the body came for {0:?}")]
    BodyStalled(std::time::Duration),
    /// The body broke off or is malformed.
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
}

impl Failure {
    /// Whether the request may be sent to another worker. `idempotent` means that the method may be repeated (RFC 9110,
    /// section 9.2.2) and that the body is still available.
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
