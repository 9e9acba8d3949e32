//! As much of JSON-RPC 2.0 as it takes to tell a client of an error: which call it belongs to.

use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::refusal::{Kind, Refusal};

/// What a request is to the client that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// The id as it came: `7` stays `7`, and `1.0` stays `1.0`.
    WithId(Box<str>),
    /// It names a method and has no id, so the client waits for no answer.
    Notification,
    /// No object, or one of something else.
    Unknown,
}

impl Call {
    /// The error is for the client: why this is no JSON.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let why = |error: &dyn fmt::Display| format!("no JSON: {error}");
        let text = std::str::from_utf8(line).map_err(|error| why(&error))?;
        let value: &RawValue = serde_json::from_str(text).map_err(|error| why(&error))?;
        if !value.get().starts_with('{') {
            return Ok(Self::Unknown);
        }
        let mut object = serde_json::Deserializer::from_str(value.get());
        object.deserialize_map(Members).map_err(|error| why(&error))
    }

    pub(super) fn is_notification(&self) -> bool {
        *self == Self::Notification
    }
}

/// The codes of the specification, section 5.1.
const PARSE_ERROR: i32 = -32700;
const SERVER_ERROR: i32 = -32000;

/// Without the delimiter that ends it.
pub(super) fn error(call: Option<&Call>, refusal: Refusal<'_>, out: &mut Vec<u8>) {
    let id = if let Some(Call::WithId(id)) = call { id } else { "null" };
    let code = if refusal.kind == Kind::NoJson { PARSE_ERROR } else { SERVER_ERROR };
    let reason = serde_json::Value::from(refusal.reason);
    let error =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{reason}}}}}"#);
    out.extend_from_slice(error.as_bytes());
}

/// Reads an object's members, of which the last `id` counts.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Call;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Call, A::Error> {
        let (mut id, mut names_a_method) = (None, false);
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            names_a_method |= name == "method";
            if name == "id" {
                id = Some(value.get().into());
            }
        }
        Ok(match id {
            Some(id) => Call::WithId(id),
            None if names_a_method => Call::Notification,
            None => Call::Unknown,
        })
    }
}
