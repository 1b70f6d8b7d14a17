//! Server-sent events (HTML Living Standard, section 9.2), which a response sends while it stays open.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Duration;

use crate::response::{BodyWriter, Response};

/// One server-sent event.
///
/// ```
/// use hearth_sdk::Event;
///
/// let event = Event::data("two\nlines").named("news").with_id("7");
/// assert_eq!(event.to_string(), "event: news\nid: 7\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    name: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
    data: Option<String>,
}

impl Event {
    /// An event with this text as its data.
    pub fn data(text: impl Into<String>) -> Event {
        Event {
            data: Some(text.into()),
            ..Event::default()
        }
    }

    /// An event with `value` as JSON in its data.
    ///
    /// # Errors
    /// The value cannot be serialised as JSON.
    pub fn json(value: &impl serde::Serialize) -> Result<Event, serde_json::Error> {
        serde_json::to_string(value).map(Event::data)
    }

    /// Sets the name. The client passes the event to its listeners for this name, or for `message` if there is no name.
    pub fn named(mut self, name: impl Into<String>) -> Event {
        self.name = Some(name.into());
        self
    }

    /// Sets the id, which the client sends as `last-event-id` when it reconnects.
    pub fn with_id(mut self, id: impl Into<String>) -> Event {
        self.id = Some(id.into());
        self
    }

    /// Sets how long the client waits before it reconnects.
    pub fn with_retry(mut self, after: Duration) -> Event {
        self.retry = Some(after);
        self
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line break in a name or an id would begin another field, and clients ignore an id with a NUL.
        let one_line = |text: &str| text.replace(['\n', '\r', '\0'], " ");
        if let Some(name) = &self.name {
            writeln!(f, "event: {}", one_line(name))?;
        }
        if let Some(id) = &self.id {
            writeln!(f, "id: {}", one_line(id))?;
        }
        if let Some(retry) = self.retry {
            writeln!(f, "retry: {}", retry.as_millis())?;
        }
        if let Some(data) = &self.data {
            let text = data.replace("\r\n", "\n").replace('\r', "\n");
            for line in text.split('\n') {
                writeln!(f, "data: {line}")?;
            }
        }
        writeln!(f)
    }
}

/// Sends events to the client.
#[derive(Debug)]
pub struct Events<'a>(&'a mut BodyWriter);

impl Events<'_> {
    /// Sends an event immediately.
    ///
    /// # Errors
    /// `ConnectionAborted` if the client has disconnected.
    pub fn send(&mut self, event: &Event) -> io::Result<()> {
        write!(self.0, "{event}")?;
        self.0.flush()
    }
}

fn stream_of_events(response: Response) -> Response {
    response
        .header("content-type", "text/event-stream")
        .header("cache-control", "no-store")
}

impl Response {
    /// A 200 whose body is a stream of events. `write` sends them. If the client disconnects, a later `send` fails.
    pub fn events(
        write: impl FnOnce(&mut Events<'_>) -> io::Result<()> + Send + 'static,
    ) -> Response {
        stream_of_events(Response::stream(|out| write(&mut Events(out))))
    }
}

#[cfg(feature = "async")]
mod waiting {
    use super::{Event, stream_of_events};
    use crate::aio::AsyncBodyWriter;
    use crate::response::Response;
    use std::io;

    /// Sends the events of an asynchronous handler to the client.
    #[derive(Debug)]
    pub struct AsyncEvents<'a>(&'a mut AsyncBodyWriter);

    impl AsyncEvents<'_> {
        /// Sends an event immediately.
        ///
        /// # Errors
        /// `ConnectionAborted` if the client has disconnected.
        pub async fn send(&mut self, event: &Event) -> io::Result<()> {
            self.0.write(event.to_string()).await?;
            self.0.flush().await
        }
    }

    impl Response {
        /// A 200 whose body is a stream of events. `write` sends them. If the client disconnects, `write` is dropped.
        pub fn events_async(
            write: impl AsyncFnOnce(&mut AsyncEvents<'_>) -> io::Result<()> + Send + 'static,
        ) -> Response {
            stream_of_events(Response::stream_async(
                async move |out: &mut AsyncBodyWriter| write(&mut AsyncEvents(out)).await,
            ))
        }
    }
}

#[cfg(feature = "async")]
pub use waiting::AsyncEvents;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_an_event_can_make_another() {
        let event = Event::data("a\r\n\rid: 9")
            .named("x\ndata: y")
            .with_id("1\r2\0")
            .with_retry(Duration::from_secs(3));
        let expect = "event: x data: y\nid: 1 2 \nretry: 3000\ndata: a\ndata: \ndata: id: 9\n\n";
        assert_eq!(event.to_string(), expect);
    }
}
