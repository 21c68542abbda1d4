//! What must hold for any input of another machine: one function for each fuzz target, as in
//! [`crate::wire::fuzzing`].

use super::invitation::Invitation;
use super::secret::Side;
use super::upgrade::{Accept, UpgradeAnswer, decode_answer, decode_request, encode_request};
use super::websocket::{Decoder, Fault, Frame};
use crate::limits::{INVITATION_CHARS_MAX, MACHINE_HEAD_BYTES_MAX, MACHINE_READ_BYTES};
use crate::wire::buffer::Buffer;

/// A text that someone takes for the code of an invitation.
///
/// # Panics
///
/// If it reads as one that does not read as the same again.
pub fn invitation(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(invitation) = Invitation::parse(&text) {
        let code = invitation.code();
        assert!(code.len() <= INVITATION_CHARS_MAX, "no longer than a code may be");
        assert_eq!(Invitation::parse(&code).as_ref(), Ok(&invitation), "reads back");
    }
}

/// What a hub is asked, or a relay answered, for the upgrade.
///
/// # Panics
///
/// If part of a request is one, or if one does not survive being encoded again.
pub fn upgrade(input: &[u8]) {
    if let Ok(Some(request)) = decode_request(input) {
        for end in 0..input.len() {
            let part = decode_request(input.get(..end).unwrap_or_default());
            assert!(matches!(part, Ok(None)), "{end} bytes of it are no request");
        }
        let mut out = Buffer::new(MACHINE_HEAD_BYTES_MAX);
        let accept = encode_request(&mut out, request.bearer, request.name, &request.version);
        if let (Ok(accept), Ok(Some(again))) = (accept, decode_request(out.as_slice())) {
            assert_eq!((again.accept, again.name), (accept, request.name));
            assert_eq!(again.version, request.version);
        }
    }
    if let Ok(Some(UpgradeAnswer::Open { len, .. })) = decode_answer(input, &Accept::of("")) {
        assert!(len <= input.len(), "an answer is part of what came");
    }
}

/// What comes over a WebSocket, at either end.
///
/// # Panics
///
/// If it depends on how the bytes were split.
pub fn websocket(input: &[u8]) {
    for side in [Side::Hub, Side::Client] {
        let whole = frames(side, input, MACHINE_READ_BYTES / 2);
        for step in [1, 7] {
            assert_eq!(frames(side, input, step), whole, "in steps of {step}");
        }
    }
}

/// The frames in `input`, which comes in steps of `step` bytes, and how it ends.
fn frames(side: Side, input: &[u8], step: usize) -> (Vec<(Frame, Vec<u8>)>, Option<Fault>) {
    let mut decoder = Decoder::new(side);
    let mut buffer = Buffer::new(MACHINE_READ_BYTES);
    let mut found = Vec::new();
    for piece in input.chunks(step) {
        let taken = buffer.extend(piece);
        assert!(taken.is_ok(), "all but part of a head was taken");
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(Frame::Text)) => found.push((Frame::Text, decoder.text().into())),
                Ok(Some(frame)) => found.push((frame, decoder.control().into())),
                Ok(None) => break,
                Err(fault) => return (found, Some(fault)),
            }
        }
    }
    (found, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_will_do() {
        let mut random = 1_u64;
        for length in 0..300 {
            let mut input: Vec<u8> = Vec::new();
            for _ in 0..length {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                input.extend(&random.to_be_bytes()[..1]);
            }
            websocket(&input);
            // Small lengths and one mask, so that there is more than one frame.
            for byte in &mut input {
                *byte &= 0x8f;
            }
            websocket(&input);
            upgrade(&input);
            invitation(&[b"slm", &input[..]].concat());
        }
    }
}
