//! What must hold for any input: one function for each fuzz target.
//!
//! The targets in `fuzz/`, the replay of their corpora (`tests/corpus.rs`) and the random inputs
//! of the unit tests all call these. They panic when something does not hold, and are part of no
//! binary.

#![expect(clippy::panic, reason = "to panic is how a target tells that something does not hold")]

use std::borrow::Cow;

use super::buffer::Buffer;
use super::frames::{ToHub, ToRelay};
use super::http::client::{self, ResponseDecoder};
use super::http::server::{self, Decoded, Method, RequestDecoder, RequestError};
use super::jsonrpc::{self, ErrorObject, Message};
use super::ndjson::{EncodeError, LineDecoder};
use crate::limits::{BODY_BYTES_MAX, READ_BYTES_MAX};

/// Largest body the response target accepts: small, so that both sides of it are found.
const RESPONSE_BODY_MAX: usize = 1000;

/// A connection of a client to the broker.
///
/// # Panics
///
/// If the requests depend on how the bytes were split, or do not survive being encoded again.
pub fn http_request(input: &[u8]) {
    let whole = requests(input, input.len());
    for step in [1, 7] {
        assert_eq!(requests(input, step), whole, "in steps of {step}");
    }
}

/// The requests in `input`, as text, which comes in steps of `step` bytes; and how it ends.
fn requests(input: &[u8], step: usize) -> (Vec<String>, Result<usize, RequestError>) {
    let mut decoder = RequestDecoder::new();
    let mut found = Vec::new();
    let mut start = 0;
    let mut end = 0;
    loop {
        let buffered = input.get(start..end).unwrap_or_default();
        match decoder.decode(buffered) {
            Ok(Decoded::Request(request)) => {
                assert!((1..=buffered.len()).contains(&request.len), "takes what it was shown");
                assert!(request.body.len() <= BODY_BYTES_MAX);
                assert!(!decoder.in_request());
                let but_one = buffered.get(..request.len - 1).unwrap_or_default();
                assert!(!matches!(
                    RequestDecoder::new().decode(but_one),
                    Ok(Decoded::Request(_)) | Err(_)
                ));
                request_survives(&request);
                start += request.len;
                found.push(format!("{request:?}"));
            }
            Ok(Decoded::Continue) => {
                let again = decoder.decode(buffered);
                assert_eq!(again, Ok(Decoded::Incomplete), "said once");
            }
            Ok(Decoded::Incomplete) if end == input.len() => return (found, Ok(start)),
            Ok(Decoded::Incomplete) => end = end.saturating_add(step).min(input.len()),
            Err(error) => {
                assert_eq!(decoder.decode(b""), Err(error), "it stays failed");
                return (found, Err(error));
            }
        }
    }
}

/// Our own client can say the same again.
fn request_survives(request: &server::Request<'_>) {
    let method = match request.method {
        Method::Get => client::Method::Get,
        Method::Post => client::Method::Post,
        Method::Head | Method::Other(_) => return,
    };
    let host = request.host.unwrap_or("localhost");
    let &server::Request { path, token, body, .. } = request;
    let mut out = Buffer::new(usize::MAX);
    if (client::Request { method, path, host, token, body }).encode(&mut out).is_err() {
        return;
    }
    match RequestDecoder::new().decode(out.as_slice()) {
        Ok(Decoded::Request(again)) => {
            assert_eq!((again.method, again.path), (request.method, path));
            assert_eq!((again.host, again.token), (Some(host), token));
            assert_eq!((again.body, again.len), (body, out.len()));
        }
        // A head close to the limit can come out longer.
        other => assert_eq!(other, Err(RequestError::HeadersTooLarge)),
    }
}

/// A connection of the broker to a client.
///
/// # Panics
///
/// If the responses depend on how the bytes were split.
pub fn http_response(input: &[u8]) {
    let whole = responses(input, input.len());
    for step in [1, 7] {
        assert_eq!(responses(input, step), whole, "in steps of {step}");
    }
}

fn responses(input: &[u8], step: usize) -> (Vec<String>, Result<usize, client::ResponseError>) {
    let mut decoder = ResponseDecoder::new(RESPONSE_BODY_MAX);
    let mut found = Vec::new();
    let mut start = 0;
    let mut end = 0;
    loop {
        let buffered = input.get(start..end).unwrap_or_default();
        match decoder.decode(buffered) {
            Ok(Some(response)) => {
                assert!((1..=buffered.len()).contains(&response.len), "takes what it was shown");
                assert!(response.body.len() <= RESPONSE_BODY_MAX);
                assert!((200..1000).contains(&response.status));
                start += response.len;
                found.push(format!("{response:?}"));
            }
            Ok(None) if end == input.len() => return (found, Ok(start)),
            Ok(None) => end = end.saturating_add(step).min(input.len()),
            Err(error) => {
                assert_eq!(decoder.decode(b""), Err(error), "it stays failed");
                return (found, Err(error));
            }
        }
    }
}

/// A stream of lines. The first byte of the input is the longest line that is accepted.
///
/// # Panics
///
/// If the lines are others than splitting the input would give, or depend on how it was split.
pub fn ndjson(input: &[u8]) {
    let Some((line_max, stream)) = input.split_first() else { return };
    let line_max = usize::from(*line_max);
    let expected = expected_lines(stream, line_max);
    for step in [1, 7, READ_BYTES_MAX] {
        assert_eq!(lines(stream, line_max, step), expected, "in steps of {step}");
    }
}

/// What [`LineDecoder`] makes of a stream; `None` stands for a line that is too long.
fn lines(stream: &[u8], line_max: usize, step: usize) -> Vec<Option<Vec<u8>>> {
    let mut decoder = LineDecoder::new(line_max);
    let mut found = Vec::new();
    for piece in stream.chunks(step) {
        assert_eq!(decoder.push(piece), Ok(()), "there is room once all lines were taken");
        while let Some(line) = decoder.next_line() {
            found.push(line.ok().map(<[u8]>::to_vec));
        }
    }
    found.extend(decoder.finish().map(|line| Some(line.to_vec())));
    found
}

/// The same, told in the simplest way.
fn expected_lines(stream: &[u8], line_max: usize) -> Vec<Option<Vec<u8>>> {
    let lines = stream.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines
        .map(|line| (line.len() <= line_max).then(|| line.to_vec()))
        .filter(|line| line.as_ref().is_none_or(|line| !line.trim_ascii().is_empty()))
        .collect()
}

/// One line that should be a message.
///
/// # Panics
///
/// If a message does not survive being encoded again, or its answer is not one.
pub fn jsonrpc(line: &[u8]) {
    let message = jsonrpc::parse(line);
    if let Message::Invalid { fault: jsonrpc::Fault::Parse, .. } = message {
        assert!(serde_json::from_slice::<serde_json::Value>(line).is_err());
    }
    message_survives(&message);
}

/// The message can be said again, and what answers it names the same request.
fn message_survives(message: &Message<'_>) {
    let (again, answer) = match message {
        Message::Request { id, method, params } => (
            Some(line(|out| jsonrpc::encode_request(out, id, method, params.as_ref()))),
            Some((Some(id), line(|out| jsonrpc::encode_result(out, id, &())))),
        ),
        Message::Notification { method, params } => {
            (Some(line(|out| jsonrpc::encode_notification(out, method, params.as_ref()))), None)
        }
        Message::Response { id, outcome: Err(error) } => {
            let (id, ErrorObject { code, message }) = (id.as_ref(), error);
            (Some(line(|out| jsonrpc::encode_error(out, id, *code, message, None))), None)
        }
        Message::Response { id: Some(id), outcome: Ok(result) } => {
            (Some(line(|out| jsonrpc::encode_result(out, id, result))), None)
        }
        Message::Invalid { id, fault } => {
            let id = id.as_ref();
            (None, Some((id, line(|out| jsonrpc::encode_fault(out, id, *fault)))))
        }
        Message::Response { id: None, outcome: Ok(_) } => {
            panic!("there is no such message: {message:?}");
        }
    };
    if let Some(again) = again {
        assert_eq!(plain(&jsonrpc::parse(&again)), plain(message));
    }
    if let Some((echoed, answer)) = answer {
        match jsonrpc::parse(&answer) {
            Message::Response { id, .. } => assert_eq!(id.as_ref(), echoed),
            other => panic!("not an answer: {other:?}"),
        }
    }
}

/// The one line that `encode` writes.
fn line(encode: impl FnOnce(&mut Buffer) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut out = Buffer::new(usize::MAX);
    assert!(encode(&mut out).is_ok());
    match out.as_slice().strip_suffix(b"\n") {
        Some(line) if !line.contains(&b'\n') => line.to_vec(),
        _ => panic!("not one line: {out:?}"),
    }
}

/// A message in a form that can be compared: newlines between tokens are written as spaces.
fn plain(message: &Message<'_>) -> (String, Cow<'static, str>) {
    let raw = |raw: Option<&serde_json::value::RawValue>| {
        raw.map_or(Cow::Borrowed("none"), |raw| Cow::Owned(raw.get().replace('\n', " ")))
    };
    match message {
        Message::Request { id, method, params } => (format!("{id:?} {method:?}"), raw(*params)),
        Message::Notification { method, params } => (format!("{method:?}"), raw(*params)),
        Message::Response { id, outcome: Ok(result) } => (format!("{id:?}"), raw(Some(*result))),
        Message::Response { id, outcome: Err(error) } => (format!("{id:?} {error:?}"), raw(None)),
        Message::Invalid { .. } => (format!("{message:?}"), raw(None)),
    }
}

/// A text that one end of a connection between machines is sent.
///
/// # Panics
///
/// If a frame does not survive being written again.
pub fn frames(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    if let Ok(Some(frame)) = ToHub::decode(text) {
        assert_eq!(ToHub::decode(&frame.text()), Ok(Some(frame)));
    }
    if let Ok(Some(frame)) = ToRelay::decode(text) {
        assert_eq!(ToRelay::decode(&frame.text()), Ok(Some(frame)));
    }
}
