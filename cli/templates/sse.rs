//! Sends the time of day every second as server-sent events, for `curl -N` or an `EventSource` in a browser.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_sdk::{Event, Request, Response, serve_async};

fn main() {
    serve_async(async || Ok::<_, Infallible>(Duration::from_secs(1)), handle)
}

async fn handle(pause: Duration, request: Request) -> Response {
    let count = request.query.parse().unwrap_or(u64::MAX);
    Response::events_async(async move |events| {
        for number in 0..count {
            let event = Event::data(time_of_day()).with_id(number.to_string());
            events.send(&event).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    })
}

fn time_of_day() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::test::AsyncClient;

    #[test]
    fn events_are_numbered() {
        let client = AsyncClient::new(async || Duration::ZERO, handle);
        let answer = client.get("/?2");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.text().matches("data: ").count(), 2);
        assert!(answer.text().contains("id: 1\n"));
    }
}
