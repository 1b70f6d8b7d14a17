//! Serves the protocol of systemd's journal on a datagram socket, and adds the messages to the log. For machines
//! without another journal.
//!
//! Every program that reaches the socket may write to it. So a message becomes a record with the source `journal`, and
//! with the process id and user id that the kernel reports for the sender. It never becomes a record of a function, a
//! worker or a request, whatever its fields contain.

use std::collections::BTreeMap;
use std::fs::{Permissions, remove_file, set_permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hearth_sys::datagram::{Datagram, Sender, bind, receive};
use hearth_sys::memfile;
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::journal::{Journal, Record};
use crate::native::{Entry, parse};

/// Maximum length of a datagram in bytes; systemd's journal accepts less in one datagram.
const DATAGRAM: usize = 256 * 1024;

/// Maximum length in bytes of a message in a memory file.
const FILE: u64 = 4 << 20;

/// Maximum length of a record's message in bytes; the rest is cut off.
const TEXT: usize = 64 * 1024;

/// Maximum length of another field's value in bytes; the rest is cut off.
const VALUE: usize = 4 * 1024;

/// Maximum number of entries that are accepted in one second, of all senders together. A faulty program must not
/// displace all other records.
const EACH_SECOND: u32 = 2_000;

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer as the journal at {path}")]
pub struct ReceiverError {
    path: PathBuf,
    source: io::Error,
}

/// The socket. Dropping it removes the socket.
#[derive(Debug)]
pub struct Receiver {
    path: PathBuf,
    task: tokio::task::AbortHandle,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
        let _ = remove_file(&self.path);
    }
}

impl Receiver {
    /// Serves the socket at `path` from now on. Replaces a socket that no process receives on.
    pub fn start(path: &Path, journal: Journal) -> Result<Receiver, ReceiverError> {
        let failed = |source| ReceiverError {
            path: path.to_owned(),
            source,
        };
        let socket = bind(path).map_err(failed)?;
        // Every program of the machine may log.
        set_permissions(path, Permissions::from_mode(0o666)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let socket = UnixDatagram::from_std(socket).map_err(failed)?;
        let task = tokio::task::spawn_local(listen(socket, journal));
        Ok(Receiver {
            path: path.to_owned(),
            task: task.abort_handle(),
        })
    }
}

async fn listen(socket: UnixDatagram, journal: Journal) {
    let mut room = vec![0; DATAGRAM];
    let mut rate = Rate::default();
    loop {
        let received = socket
            .async_io(Interest::READABLE, || receive(socket.as_fd(), &mut room))
            .await;
        match received {
            Ok(datagram) => keep(&room, datagram, &journal, &mut rate),
            Err(error) => {
                let text = format!("a message to the journal could not be received: {error}");
                journal.add(&Record::new("supervisor", "warn", text));
                // The pause keeps an error that repeats from filling the log.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn keep(room: &[u8], datagram: Datagram, journal: &Journal, rate: &mut Rate) {
    let mut trouble = datagram.cut.then(|| "it is too long".to_owned());
    let mut file = Vec::new();
    let bytes = match datagram.descriptors.into_iter().next() {
        // A message that is too long for a datagram comes in a sealed memory file.
        Some(descriptor) if datagram.length == 0 => {
            match memfile::read_sealed(descriptor, FILE) {
                Ok(read) => file = read,
                Err(error) => trouble = Some(error.to_string()),
            }
            &file[..]
        }
        _ => &room[..datagram.length],
    };
    let (entries, fault) = parse(bytes);
    let trouble = trouble.or(fault.map(|fault| fault.to_string()));
    let now = Instant::now();
    for entry in &entries {
        if rate.admits(now) {
            journal.add(&record(entry, datagram.sender));
        }
    }
    if let Some(trouble) = trouble
        && rate.admits(now)
    {
        let from = datagram.sender.map_or(0, |sender| sender.process);
        let text =
            format!("a message to the journal from process {from} was not understood: {trouble}");
        journal.add(&Record::new("supervisor", "warn", text));
    }
    if let Some(count) = rate.passed_over() {
        let text =
            format!("{count} messages to the journal were passed over: too many in a second");
        journal.add(&Record::new("supervisor", "warn", text));
    }
}

/// Converts an entry to a record.
pub fn record(entry: &Entry<'_>, sender: Option<Sender>) -> Record {
    let mut level = "info";
    let mut message = String::new();
    let mut fields = BTreeMap::new();
    for (name, value) in entry {
        match *name {
            "MESSAGE" => message = text(value, TEXT),
            "PRIORITY" => level = level_of(value),
            // If a name occurs more than once, the first value is kept.
            name => {
                let value = || Value::from(text(value, VALUE));
                fields
                    .entry(name.to_ascii_lowercase())
                    .or_insert_with(value);
            }
        }
    }
    if let Some(sender) = sender {
        fields.insert("pid".to_owned(), sender.process.into());
        fields.insert("uid".to_owned(), sender.user.into());
    }
    Record {
        fields,
        ..Record::new("journal", level, message)
    }
}

/// The level of a priority (syslog(3)): 0 to 3 are errors, 4 warnings, 7 debug, all others info.
fn level_of(priority: &[u8]) -> &'static str {
    match priority {
        b"0" | b"1" | b"2" | b"3" => "error",
        b"4" => "warn",
        b"7" => "debug",
        _ => "info",
    }
}

fn text(bytes: &[u8], longest: usize) -> String {
    let cut = &bytes[..bytes.len().min(longest)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < bytes.len() {
        text.push_str("...");
    }
    text
}

/// Limits the entries of each second.
#[derive(Debug, Default)]
struct Rate {
    second: Option<Instant>,
    count: u32,
    over: u32,
    told: u32,
}

impl Rate {
    fn admits(&mut self, now: Instant) -> bool {
        let new = self
            .second
            .is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1));
        if new {
            self.second = Some(now);
            self.count = 0;
            self.told = std::mem::take(&mut self.over);
        }
        self.count += 1;
        let admitted = self.count <= EACH_SECOND;
        self.over += u32::from(!admitted);
        admitted
    }

    /// How many entries were dropped in the last second that had any. Returned once, when that second is over.
    fn passed_over(&mut self) -> Option<u32> {
        let told = std::mem::take(&mut self.told);
        (told > 0).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_record_of_its_sender_and_of_nobody_else() {
        let (entries, _) = parse(
            b"MESSAGE=hello\nPRIORITY=4\nSYSLOG_IDENTIFIER=app\nHEARTH_FUNCTION=items\nPID=1\nX=1\nX=2\n",
        );
        let sender = Sender {
            process: 42,
            user: 1000,
        };
        let record = record(&entries[0], Some(sender));
        assert_eq!(
            (record.level.as_str(), record.message.as_str()),
            ("warn", "hello")
        );
        assert_eq!(
            (&*record.source, record.function, record.worker),
            ("journal", None, None)
        );
        let fields = serde_json::to_value(&record.fields).unwrap();
        let expect = serde_json::json!({
            "hearth_function": "items", "pid": 42, "syslog_identifier": "app", "uid": 1000, "x": "1",
        });
        assert_eq!(fields, expect);
    }

    #[test]
    fn long_and_broken_texts_are_cut_and_mended() {
        let long = vec![b'x'; TEXT + 1];
        let entry: Entry<'_> = vec![("MESSAGE", &long), ("Y", b"\xff")];
        let record = record(&entry, None);
        assert_eq!(record.message.len(), TEXT + 3);
        assert_eq!(record.fields["y"], "\u{fffd}");
    }

    #[test]
    fn too_many_in_a_second_are_passed_over_and_counted() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        let admitted = (0..EACH_SECOND + 5).filter(|_| rate.admits(now)).count();
        assert_eq!(admitted as u32, EACH_SECOND);
        assert_eq!(rate.passed_over(), None);
        assert!(rate.admits(now + Duration::from_secs(1)));
        assert_eq!((rate.passed_over(), rate.passed_over()), (Some(5), None));
    }
}
