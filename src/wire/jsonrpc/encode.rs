//! Messages out.

use serde::Serialize;
use serde_json::Value;

use super::{Fault, Id, VERSION};
use crate::wire::buffer::Buffer;
use crate::wire::ndjson::{self, EncodeError};

/// Appends the answer to a request.
///
/// # Errors
///
/// Those of [`ndjson::encode`], as with all encoders here; then nothing was appended.
pub fn encode_result<T: Serialize + ?Sized>(
    out: &mut Buffer,
    id: &Id,
    result: &T,
) -> Result<(), EncodeError> {
    #[derive(serde::Serialize)]
    struct Line<'a, T: ?Sized> {
        jsonrpc: &'a str,
        id: &'a Id,
        result: &'a T,
    }
    ndjson::encode(out, &Line { jsonrpc: VERSION, id, result })
}

/// Appends an error as the answer to a request.
///
/// # Errors
///
/// Those of [`ndjson::encode`].
pub fn encode_error(
    out: &mut Buffer,
    id: Option<&Id>,
    code: i64,
    message: &str,
    data: Option<&Value>,
) -> Result<(), EncodeError> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        jsonrpc: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Id>,
        error: Body<'a>,
    }
    #[derive(serde::Serialize)]
    struct Body<'a> {
        code: i64,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a Value>,
    }
    ndjson::encode(out, &Line { jsonrpc: VERSION, id, error: Body { code, message, data } })
}

/// Appends the answer to [`Message::Invalid`](super::Message::Invalid).
///
/// # Errors
///
/// Those of [`ndjson::encode`].
pub fn encode_fault(out: &mut Buffer, id: Option<&Id>, fault: Fault) -> Result<(), EncodeError> {
    encode_error(out, id, fault.code(), &fault.to_string(), None)
}

/// Appends a notification. With `None::<&()>` it has no `params`.
///
/// # Errors
///
/// Those of [`ndjson::encode`].
pub fn encode_notification<P: Serialize + ?Sized>(
    out: &mut Buffer,
    method: &str,
    params: Option<&P>,
) -> Result<(), EncodeError> {
    encode_call(out, None, method, params)
}

/// Appends a request. With `None::<&()>` it has no `params`.
///
/// # Errors
///
/// Those of [`ndjson::encode`].
pub fn encode_request<P: Serialize + ?Sized>(
    out: &mut Buffer,
    id: &Id,
    method: &str,
    params: Option<&P>,
) -> Result<(), EncodeError> {
    encode_call(out, Some(id), method, params)
}

fn encode_call<P: Serialize + ?Sized>(
    out: &mut Buffer,
    id: Option<&Id>,
    method: &str,
    params: Option<&P>,
) -> Result<(), EncodeError> {
    #[derive(serde::Serialize)]
    struct Line<'a, P: ?Sized> {
        jsonrpc: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Id>,
        method: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        params: Option<&'a P>,
    }
    ndjson::encode(out, &Line { jsonrpc: VERSION, id, method, params })
}
