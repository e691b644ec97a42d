//! Values of D-Bus (D-Bus specification, "Type System"), as far as properties of units have them.

use std::fmt;

/// One complete value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    Byte(u8),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    String(String),
    ObjectPath(String),
    Signature(String),
    /// Signature of one element, and the elements, which all have it.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub(super) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    pub(super) fn strings<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Array("s".into(), items.into_iter().map(Self::string).collect())
    }

    pub(super) fn variant(value: Self) -> Self {
        Self::Variant(Box::new(value))
    }

    pub(super) fn signature(&self) -> String {
        match self {
            Self::Boolean(_) => "b".into(),
            Self::Byte(_) => "y".into(),
            Self::Int16(_) => "n".into(),
            Self::Uint16(_) => "q".into(),
            Self::Int32(_) => "i".into(),
            Self::Uint32(_) => "u".into(),
            Self::Int64(_) => "x".into(),
            Self::Uint64(_) => "t".into(),
            Self::Double(_) => "d".into(),
            Self::String(_) => "s".into(),
            Self::ObjectPath(_) => "o".into(),
            Self::Signature(_) => "g".into(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(fields) => {
                format!("({})", fields.iter().map(Self::signature).collect::<String>())
            }
            Self::Variant(_) => "v".into(),
        }
    }

    /// Appends the value to a message body, whose first byte is at a multiple of 8.
    pub(super) fn marshal(&self, body: &mut Vec<u8>) {
        match self {
            Self::Boolean(value) => put(body, 4, &u32::from(*value).to_le_bytes()),
            Self::Byte(value) => body.push(*value),
            Self::Int16(value) => put(body, 2, &value.to_le_bytes()),
            Self::Uint16(value) => put(body, 2, &value.to_le_bytes()),
            Self::Int32(value) => put(body, 4, &value.to_le_bytes()),
            Self::Uint32(value) => put(body, 4, &value.to_le_bytes()),
            Self::Int64(value) => put(body, 8, &value.to_le_bytes()),
            Self::Uint64(value) => put(body, 8, &value.to_le_bytes()),
            Self::Double(value) => put(body, 8, &value.to_le_bytes()),
            Self::String(text) | Self::ObjectPath(text) => put_string(body, text),
            Self::Signature(text) => put_signature(body, text),
            Self::Array(element, items) => put_array(body, element, items),
            Self::Struct(fields) => {
                pad(body, 8);
                fields.iter().for_each(|field| field.marshal(body));
            }
            Self::Variant(value) => {
                put_signature(body, &value.signature());
                value.marshal(body);
            }
        }
    }
}

/// Where a value of a type begins ("Alignment" in the specification's table of types).
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

pub(super) fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

fn put(body: &mut Vec<u8>, alignment: usize, bytes: &[u8]) {
    pad(body, alignment);
    body.extend_from_slice(bytes);
}

fn put_string(body: &mut Vec<u8>, text: &str) {
    put(body, 4, &(text.len() as u32).to_le_bytes());
    body.extend_from_slice(text.as_bytes());
    body.push(0);
}

fn put_signature(body: &mut Vec<u8>, text: &str) {
    body.push(text.len() as u8);
    body.extend_from_slice(text.as_bytes());
    body.push(0);
}

/// The length of an array counts its elements, not the padding before the first.
fn put_array(body: &mut Vec<u8>, element: &str, items: &[Value]) {
    put(body, 4, &[0; 4]);
    let length_at = body.len() - 4;
    pad(body, alignment(element));
    let start = body.len();
    items.iter().for_each(|item| item.marshal(body));
    let length = (body.len() - start) as u32;
    body[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// As `busctl` and `gdbus` would print it, near enough for people.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, (open, close), items: &[Self]| {
            write!(f, "{open}")?;
            for (index, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
            }
            write!(f, "{close}")
        };
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Byte(value) => write!(f, "{value}"),
            Self::Int16(value) => write!(f, "{value}"),
            Self::Uint16(value) => write!(f, "{value}"),
            Self::Int32(value) => write!(f, "{value}"),
            Self::Uint32(value) => write!(f, "{value}"),
            Self::Int64(value) => write!(f, "{value}"),
            Self::Uint64(u64::MAX) => write!(f, "infinity"),
            Self::Uint64(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::String(text) | Self::ObjectPath(text) | Self::Signature(text) => {
                write!(f, "{text:?}")
            }
            Self::Array(_, items) => list(f, ('[', ']'), items),
            Self::Struct(fields) => list(f, ('(', ')'), fields),
            Self::Variant(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut body = Vec::new();
        value.marshal(&mut body);
        body
    }

    #[test]
    fn a_struct_is_padded_to_eight() {
        let value = Value::Struct(vec![Value::Byte(1), Value::string("ab"), Value::Uint64(2)]);
        assert_eq!(value.signature(), "(yst)");
        let expected =
            [&[1u8, 0, 0, 0][..], &[2, 0, 0, 0, b'a', b'b', 0], &[0; 5], &[2, 0, 0, 0, 0, 0, 0, 0]]
                .concat();
        assert_eq!(bytes(&value), expected);
    }

    #[test]
    fn the_length_of_an_array_leaves_out_the_first_padding() {
        let property = Value::Struct(vec![
            Value::string("A"),
            Value::variant(Value::Array("u".into(), vec![Value::Uint32(7)])),
        ]);
        let value = Value::Array("(sv)".into(), vec![property]);
        assert_eq!(value.signature(), "a(sv)");
        let expected = [
            &[20u8, 0, 0, 0][..],
            &[0; 4],
            &[1, 0, 0, 0, b'A', 0],
            &[2, b'a', b'u', 0],
            &[0; 2],
            &[4, 0, 0, 0, 7, 0, 0, 0],
        ]
        .concat();
        assert_eq!(bytes(&value), expected);
        assert_eq!(bytes(&Value::Array("t".into(), Vec::new())), [0; 8]);
    }

    #[test]
    fn people_can_read_it() {
        let value = Value::Struct(vec![Value::strings(["a", "b"]), Value::Uint64(u64::MAX)]);
        assert_eq!(value.to_string(), r#"(["a", "b"], infinity)"#);
    }
}
