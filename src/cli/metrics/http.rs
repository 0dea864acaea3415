//! As much of HTTP/1.1 as a scraper needs: one request a connection, one connection at a time, and
//! both bounded in bytes and time.

use crate::host::clock;
use crate::types::Time;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// What a request may take, from its first byte to the last of the answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The longest head of a request: Prometheus sends some 300 bytes.
const HEAD: usize = 8192;
/// After an accept that failed, as when no file descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a refused request that are read on, so that its sender reads the answer.
const LEFT: usize = 1 << 16;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers one connection after the other, for ever.
pub(super) fn serve(listener: &TcpListener, metrics: impl Fn() -> String) {
    loop {
        match listener.accept() {
            // Whoever goes away, or is too slow, has no answer: that is its own matter.
            Ok((stream, _)) => drop(answer(stream, &metrics)),
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    }
}

/// Reads a request and answers it.
fn answer(mut stream: TcpStream, metrics: impl Fn() -> String) -> io::Result<()> {
    let until = clock::now() + LIMIT;
    let mut head = Vec::with_capacity(1024);
    let response = match read_head(&mut stream, &mut head, until) {
        Ok(()) => Response::to(&head, metrics),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Response::TOO_LONG,
        Err(error) => return Err(error),
    };
    write(&mut stream, &response.bytes(), until)?;
    stream.shutdown(Shutdown::Write)?;
    // Closing with bytes unread resets the connection, and the answer may be lost with it.
    let mut rest = [0; 1024];
    for _ in 0..LEFT / rest.len() {
        stream.set_read_timeout(Some(left(until)?))?;
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Up to the empty line.
fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>, until: Time) -> io::Result<()> {
    let mut bytes = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end may have begun in what came before.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(&bytes[..length]);
        if head[from..].windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(());
        }
        if head.len() >= HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], until: Time) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            length => bytes = &bytes[length..],
        }
    }
    Ok(())
}

/// What is left of the time.
fn left(until: Time) -> io::Result<Duration> {
    let left = until.since(clock::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// What is said to a request.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: &'static str,
    /// Further lines of its head, each with its end.
    extra: &'static str,
    body: String,
    /// A HEAD request hears the length of the body only.
    is_head: bool,
}

impl Response {
    const TOO_LONG: Self = Self {
        status: "431 Request Header Fields Too Large",
        extra: "",
        body: String::new(),
        is_head: false,
    };

    /// To a request with this head.
    fn to(head: &[u8], metrics: impl Fn() -> String) -> Self {
        let no = |status, extra, body: &str| Self {
            status,
            extra,
            body: body.to_owned(),
            is_head: false,
        };
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [method, target, b"HTTP/1.1" | b"HTTP/1.0"] = words[..] else {
            return no("400 Bad Request", "", "no request of HTTP/1.1\n");
        };
        if method != b"GET" && method != b"HEAD" {
            return no("405 Method Not Allowed", "Allow: GET, HEAD\r\n", "GET /metrics\n");
        }
        if target.split(|byte| *byte == b'?').next() != Some(b"/metrics") {
            return no("404 Not Found", "", "GET /metrics\n");
        }
        Self { status: "200 OK", extra: "", body: metrics(), is_head: method == b"HEAD" }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { status, extra, body, is_head } = self;
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {TEXT}\r\nContent-Length: {}\r\n{extra}Connection: \
             close\r\n\r\n",
            body.len()
        );
        if !is_head {
            text += body;
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &[u8]) -> &'static str {
        Response::to(head, || "m 1\n".to_owned()).status.split_once(' ').unwrap().0
    }

    #[test]
    fn only_a_get_of_the_metrics_hears_them() {
        let response = Response::to(b"GET /metrics?x=1 HTTP/1.1\r\n\r\n", || "m 1\n".to_owned());
        let text = String::from_utf8(response.bytes()).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nm 1\n"),
            "{text}"
        );
        assert!(text.contains("Content-Length: 4\r\n"), "{text}");
        let response = Response::to(b"HEAD /metrics HTTP/1.0\r\n\r\n", || "m 1\n".to_owned());
        let text = String::from_utf8(response.bytes()).unwrap();
        assert!(text.contains("Content-Length: 4\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(status(b"POST /metrics HTTP/1.1\r\n\r\n"), "405");
        for garbage in
            [&b""[..], b"\r\n\r\n", b"GET  /metrics HTTP/1.1", b"GET /metrics", b"\xff \0 \r"]
        {
            assert_eq!(status(garbage), "400", "{garbage:?}");
        }
    }
}
