//! The streams of `kubectl exec` and `kubectl attach`: a WebSocket (RFC 6455) on containerd's own
//! server, with a channel for each stream (Kubernetes' protocol v4.channel.k8s.io).

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use crate::wait;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const RESULT: u8 = 3;
const SIZE: u8 = 4;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// An open conversation.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    pub stdout: String,
    pub stderr: String,
    /// How it ended, as Kubernetes writes it: JSON with `status`.
    pub result: String,
}

impl Stream {
    /// Follows a URL that containerd has given.
    ///
    /// # Errors
    /// Of the network; or that the server answers otherwise than with the protocol.
    pub fn open(url: &str) -> io::Result<Self> {
        let rest = url.trim_start_matches("http://");
        let (host, path) = rest.split_once('/').ok_or(io::ErrorKind::InvalidInput)?;
        let mut socket = TcpStream::connect(host)?;
        socket.set_read_timeout(Some(wait::PATIENCE))?;
        write!(
            socket,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        )?;
        let answer = head(&mut socket)?;
        match answer.starts_with("HTTP/1.1 101 ") {
            true => Ok(Self {
                socket,
                stdout: String::new(),
                stderr: String::new(),
                result: String::new(),
            }),
            false => Err(io::Error::other(answer)),
        }
    }

    /// Types.
    ///
    /// # Errors
    /// Of the network.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.write(STDIN, text.as_bytes())
    }

    /// Tells the size of the terminal.
    ///
    /// # Errors
    /// Of the network.
    pub fn resize(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        let size = serde_json::json!({"Width": columns, "Height": rows}).to_string();
        self.write(SIZE, size.as_bytes())
    }

    /// Listens until standard output has `words`, or the end: then it is false.
    ///
    /// # Errors
    /// Of the network.
    pub fn hears(&mut self, words: &str) -> io::Result<bool> {
        while !self.stdout.contains(words) {
            if !self.listen()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Listens to the end.
    ///
    /// # Errors
    /// Of the network.
    pub fn end(mut self) -> io::Result<Self> {
        while self.listen()? {}
        Ok(self)
    }

    /// One frame; false when it is the last.
    fn listen(&mut self) -> io::Result<bool> {
        let mut head = [0; 2];
        match self.socket.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let length = match head[1] & !MASKED {
            126 => u16::from_be_bytes(self.bytes()?).into(),
            127 => u64::from_be_bytes(self.bytes()?),
            small => small.into(),
        };
        let mut payload = Vec::new();
        Read::by_ref(&mut self.socket).take(length).read_to_end(&mut payload)?;
        if let Some((channel, text)) = payload.split_first()
            && head[0] & !FINAL == BINARY
        {
            let text = String::from_utf8_lossy(text);
            match *channel {
                STDOUT => self.stdout.push_str(&text),
                STDERR => self.stderr.push_str(&text),
                RESULT => self.result.push_str(&text),
                _ => {}
            }
        }
        Ok(head[0] & !FINAL != CLOSE)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.socket.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A client has to mask; a mask of zeros changes nothing.
    fn write(&mut self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u8::try_from(bytes.len() + 1).ok().filter(|length| *length < 126);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let mut frame = vec![FINAL | BINARY, MASKED | length, 0, 0, 0, 0, channel];
        frame.extend_from_slice(bytes);
        self.socket.write_all(&frame)
    }
}

/// The head of an HTTP answer, and not a byte more.
fn head(socket: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
