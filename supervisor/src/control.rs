//! The control socket's listening side: who may reach the socket may ask, which the state
//! directory's mode (0700) leaves to the user who runs the platform.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::api::{Answer, Request};
use crate::journal::{Journal, News, Record};

/// Longest request.
const LINE: u64 = 64 * 1024;

/// A request that the runner must answer.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// Listens at `path`; requests that are not about the journal alone go to `asked`.
pub fn listen(
    path: &Path,
    journal: Journal,
    asked: mpsc::UnboundedSender<Asked>,
) -> io::Result<()> {
    let listener = hearth_sys::unix::bind(path)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (journal, asked) = (journal.clone(), asked.clone());
            tokio::task::spawn_local(async move {
                // A client that hangs up early misses the rest, and that is all.
                let _ = converse(stream, &journal, &asked).await;
            });
        }
    });
    Ok(())
}

async fn converse(
    stream: UnixStream,
    journal: &Journal,
    asked: &mpsc::UnboundedSender<Asked>,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LINE)).read_line(&mut line).await?;
    match serde_json::from_str(&line) {
        Err(error) => {
            say(
                &mut write,
                &Answer::Failed(format!("not understood: {error}")),
            )
            .await
        }
        Ok(Request::Logs {
            lines,
            follow,
            function,
        }) => {
            let wanted = move |record: &Record| match &function {
                Some(function) => record.function.as_ref() == Some(function),
                None => true,
            };
            let (last, mut follower) = journal.last(lines, &wanted);
            for record in last {
                say(&mut write, &Answer::Record(Box::new(record))).await?;
            }
            if !follow {
                return Ok(());
            }
            loop {
                let answer = match follower.next().await {
                    News::Record(record) if wanted(&record) => Answer::Record(Box::new(record)),
                    News::Record(_) => continue,
                    News::Missed(count) => Answer::Skipped(count),
                };
                say(&mut write, &answer).await?;
            }
        }
        Ok(
            request @ (Request::Status
            | Request::Reload
            | Request::Versions
            | Request::Rollback { .. }),
        ) => {
            let (answer, answered) = oneshot::channel();
            let _ = asked.send(Asked { request, answer });
            let stopped = |_| Answer::Failed("the platform is stopping".to_owned());
            say(&mut write, &answered.await.unwrap_or_else(stopped)).await
        }
    }
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}
