//! Messages of D-Bus as bytes (D-Bus specification, "Message Format"). Ours are little-endian;
//! systemd answers in the order of the machine, which is that too.

use super::value::{Value, pad};

/// Every header field is a struct, which begins at a multiple of 8.
const ALIGNMENT: usize = 8;
/// Byte order, type, flags, version, body length, serial, length of the header fields.
pub(super) const FIXED: usize = 16;
/// The specification's own limit is 128 MiB; nothing that systemd says comes near this one.
const MAX: usize = 1 << 20;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A method call on the manager object of systemd, or on the bus itself.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) arguments: &'a [Value],
}

impl Call<'_> {
    pub(super) fn to_bytes(&self, serial: u32) -> Vec<u8> {
        let mut body = Vec::new();
        self.arguments.iter().for_each(|argument| argument.marshal(&mut body));
        let signature: String = self.arguments.iter().map(Value::signature).collect();
        let mut fields = vec![
            (1, Value::ObjectPath(self.path.into())),
            (2, Value::string(self.interface)),
            (3, Value::string(self.member)),
            (6, Value::string(self.destination)),
        ];
        if !signature.is_empty() {
            fields.push((8, Value::Signature(signature)));
        }
        let fields = fields.into_iter();
        let fields = fields
            .map(|(code, value)| Value::Struct(vec![Value::Byte(code), Value::variant(value)]));
        let mut bytes = vec![b'l', CALL, 0, 1];
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&serial.to_le_bytes());
        Value::Array("(yv)".into(), fields.collect()).marshal(&mut bytes);
        pad(&mut bytes, ALIGNMENT);
        bytes.append(&mut body);
        bytes
    }
}

/// What the other side said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The first strings and object paths of the answer's body.
    Return { to: u32, strings: Vec<String> },
    /// The error's name (`org.freedesktop.systemd1.UnitExists`) and its words.
    Error { to: u32, name: String, text: String },
    /// A signal's member and the strings of its body.
    Signal { member: String, strings: Vec<String> },
    /// A call of ours by somebody, or what later versions of D-Bus may have.
    Other,
}

/// The size of the message that begins with these [`FIXED`] bytes.
///
/// # Errors
/// Bytes that no message begins with, or a message of more than 1 MiB.
pub(super) fn size(fixed: &[u8; FIXED]) -> Result<usize, &'static str> {
    if fixed[0] != b'l' || fixed[3] != 1 {
        return Err("it is not a D-Bus message");
    }
    let [body, fields] = [4, 12].map(|at| Reader { bytes: fixed, at }.u32().unwrap_or(u32::MAX));
    let header = FIXED.saturating_add(fields as usize).next_multiple_of(ALIGNMENT);
    let size = header.saturating_add(body as usize);
    if size > MAX { Err("the message is too long") } else { Ok(size) }
}

/// Reads a whole message.
///
/// # Errors
/// When its parts are not where they should be.
pub(super) fn parse(bytes: &[u8]) -> Result<Message, &'static str> {
    read(bytes).ok_or("the message is damaged")
}

fn read(bytes: &[u8]) -> Option<Message> {
    let header = header(bytes)?;
    let body = Reader { bytes: bytes.get(header.body..)?, at: 0 };
    let strings = body.strings(&header.signature);
    Some(match *bytes.get(1)? {
        RETURN => Message::Return { to: header.reply_to, strings },
        ERROR => Message::Error {
            to: header.reply_to,
            name: header.error_name,
            text: strings.into_iter().next().unwrap_or_default(),
        },
        SIGNAL => Message::Signal { member: header.member, strings },
        _ => Message::Other,
    })
}

#[derive(Default)]
struct Header {
    reply_to: u32,
    error_name: String,
    member: String,
    signature: String,
    /// Where the body begins.
    body: usize,
}

fn header(bytes: &[u8]) -> Option<Header> {
    let mut reader = Reader { bytes, at: 12 };
    let end = FIXED + reader.u32()? as usize;
    let mut header = Header { body: end.next_multiple_of(ALIGNMENT), ..Header::default() };
    while reader.at < end {
        reader.align(ALIGNMENT);
        let code = reader.byte()?;
        match (code, reader.signature()?.as_str()) {
            (5, "u") => header.reply_to = reader.u32()?,
            (4, "s") => header.error_name = reader.string()?,
            (3, "s") => header.member = reader.string()?,
            (8, "g") => header.signature = reader.signature()?,
            (_, "u") => drop(reader.u32()?),
            (_, "s" | "o") => drop(reader.string()?),
            (_, "g") => drop(reader.signature()?),
            _ => return None,
        }
    }
    Some(header)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, alignment: usize) {
        self.at = self.at.next_multiple_of(alignment);
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.byte()?;
        Some(text)
    }

    fn string(&mut self) -> Option<String> {
        let length = self.u32()?;
        self.text(length as usize)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.byte()?;
        self.text(length.into())
    }

    /// The strings among the leading numbers and strings of a body; what comes after a container
    /// is of no interest.
    fn strings(mut self, signature: &str) -> Vec<String> {
        let mut strings = Vec::new();
        for kind in signature.chars() {
            let read = match kind {
                's' | 'o' => self.string().map(|text| strings.push(text)),
                'u' | 'i' | 'b' => self.u32().map(drop),
                _ => None,
            };
            if read.is_none() {
                break;
            }
        }
        strings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, fields: &[(u8, Value)], body: &[Value]) -> Vec<u8> {
        let mut content = Vec::new();
        body.iter().for_each(|value| value.marshal(&mut content));
        let signature = body.iter().map(Value::signature).collect();
        let mut fields = fields.to_vec();
        fields.push((8, Value::Signature(signature)));
        let fields = fields
            .into_iter()
            .map(|(code, value)| Value::Struct(vec![Value::Byte(code), Value::variant(value)]));
        let mut bytes = vec![b'l', kind, 0, 1];
        bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&9u32.to_le_bytes());
        Value::Array("(yv)".into(), fields.collect()).marshal(&mut bytes);
        pad(&mut bytes, 8);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_call_is_as_long_as_it_says() {
        let call = Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "StopUnit",
            arguments: &[Value::string("a.scope"), Value::string("replace")],
        };
        let bytes = call.to_bytes(3);
        let fixed = bytes[..FIXED].try_into().unwrap();
        assert_eq!(size(fixed), Ok(bytes.len()));
        assert_eq!(parse(&bytes), Ok(Message::Other));
        assert_eq!(header(&bytes).unwrap().signature, "ss");
    }

    #[test]
    fn answers_errors_and_signals() {
        let to = (5, Value::Uint32(3));
        let path = Value::ObjectPath("/job/1".into());
        assert_eq!(
            parse(&message(
                RETURN,
                &[to.clone(), (7, Value::string(":1.2"))],
                std::slice::from_ref(&path)
            )),
            Ok(Message::Return { to: 3, strings: vec!["/job/1".into()] })
        );
        let name = (4, Value::string("a.Exists"));
        assert_eq!(
            parse(&message(ERROR, &[name, to], &[Value::string("it is there")])),
            Ok(Message::Error { to: 3, name: "a.Exists".into(), text: "it is there".into() })
        );
        let body = [Value::Uint32(1), path, Value::string("a.scope"), Value::string("done")];
        assert_eq!(
            parse(&message(SIGNAL, &[(3, Value::string("JobRemoved"))], &body)),
            Ok(Message::Signal {
                member: "JobRemoved".into(),
                strings: ["/job/1", "a.scope", "done"].map(String::from).into()
            })
        );
    }

    #[test]
    fn damage_is_told() {
        let good = message(RETURN, &[(5, Value::Uint32(3))], &[Value::string("x")]);
        for cut in 0..good.len() {
            // Whatever is read, it is read without a panic.
            let _ = parse(&good[..cut]);
        }
        let mut long = [0; FIXED];
        long[..4].copy_from_slice(b"l\x02\x00\x01");
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(size(&long), Err("the message is too long"));
        assert_eq!(size(b"HTTP/1.1 400 Bad"), Err("it is not a D-Bus message"));
    }
}
