//! An HTTP/1.1 client that sends exactly what a test gives it, valid or not, and reads responses piece by piece.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;

use crate::wait::LIMIT;

/// A connection to the gateway.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

/// A complete response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// The bytes of a request. `line` is method and target. `Host: localhost` is added if `headers` has no Host, and
/// `Content-Length` if there is a body and `headers` has no length.
pub(crate) fn request(line: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\n");
    let named = |name: &str| {
        let mut names = headers.iter().filter_map(|field| field.split_once(':'));
        names.any(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    if !named("host") {
        text.push_str("Host: localhost\r\n");
    }
    if !body.is_empty() && !named("content-length") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for field in headers {
        text.push_str(&format!("{field}\r\n"));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Client {
            stream: BufReader::new(stream),
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// As [`Client::send`], if the gateway may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Sends one chunk of a chunked body; an empty one ends it.
    pub(crate) fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let head = format!("{:x}\r\n", bytes.len());
        self.try_send([head.as_bytes(), bytes, b"\r\n"].concat())
    }

    /// Sends a request and reads its response.
    pub(crate) fn ask(&mut self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.send(request(line, headers, body));
        self.answer(line.split(' ').next().unwrap())
    }

    /// Reads the response to a request with this method.
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        let head = self.head();
        let body = match method {
            "HEAD" => Vec::new(),
            _ => self.body(&head).unwrap(),
        };
        Answer { head, body }
    }

    pub(crate) fn head(&mut self) -> Head {
        self.try_head().unwrap()
    }

    pub(crate) fn try_head(&mut self) -> io::Result<Head> {
        let status_line = self.line()?;
        let (_, rest) = status_line.split_once(' ').ok_or_else(cut_short)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Head {
            status: rest[..3].parse().unwrap(),
            headers,
        })
    }

    /// Reads the whole body that follows this head.
    ///
    /// # Errors
    /// `UnexpectedEof` if the body breaks off.
    pub(crate) fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if head.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
            }
        } else if let Some(length) = head.header("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut body)?;
        } else if !matches!(head.status, 204 | 304) {
            self.stream.read_to_end(&mut body)?;
        }
        Ok(body)
    }

    /// Reads the next chunk of a chunked body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let length = usize::from_str_radix(&line, 16).map_err(|_| cut_short())?;
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk)?;
        self.line()?;
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// Whether the gateway closes the connection without sending another byte.
    pub(crate) fn is_hung_up(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Closes the connection, whatever is under way.
    pub(crate) fn hang_up(self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(cut_short()),
        }
    }
}

fn cut_short() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl Head {
    /// The field with this name. Fails if there is more than one.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} more than once: {self:?}");
        value
    }
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that this is a problem with this status, of this layer, and with the id of its request. Returns the
    /// problem.
    pub(crate) fn problem(&self, status: u16, layer: &str) -> Value {
        assert_eq!(self.status(), status, "{}", self.text());
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["layer"], layer, "{problem}");
        assert!(problem["title"].is_string(), "{problem}");
        let id = self.header("x-request-id").unwrap();
        assert_eq!(problem["request"], id, "{problem}");
        problem
    }
}
