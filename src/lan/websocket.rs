//! WebSocket (RFC 6455) as machines speak it: texts, pings, pongs and the close. No I/O.
//!
//! Heads of frames are read and written by tungstenite. Its `WebSocket` is not used: its buffer stays as
//! large as the largest frame there has been, 8 MiB for each of the hub's machines, and it looks at
//! masks and sizes of control frames only when it has the whole frame. Here, a head that breaks a rule
//! ends the connection at once, and what a text took is given back after it.

use std::fmt;
use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::secret::Side;
use crate::limits::MACHINE_TEXT_BYTES_MAX;
use crate::wire::buffer::{Buffer, Full};

/// Longest payload of a control frame, bytes (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Memory kept for the next text, bytes.
const KEPT_BYTES: usize = 8 * 1024;
/// Masks bought at once.
const MASKS: usize = 64;

/// What the other side has broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A rule of RFC 6455.
    Protocol(&'static str),
    /// Only texts are taken.
    NotText,
    /// A text that is no UTF-8.
    NotUtf8,
    /// A text over [`MACHINE_TEXT_BYTES_MAX`].
    TooLarge,
}

impl Fault {
    /// The code to close with (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn code(self) -> u16 {
        let code = match self {
            Self::Protocol(_) => CloseCode::Protocol,
            Self::NotText => CloseCode::Unsupported,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::TooLarge => CloseCode::Size,
        };
        code.into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(what) => f.write_str(what),
            Self::NotText => f.write_str("only texts are taken here"),
            Self::NotUtf8 => f.write_str("a text is not UTF-8"),
            Self::TooLarge => write!(f, "a text is longer than {MACHINE_TEXT_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for Fault {}

/// What has come. Payloads are with the decoder until its next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A text: [`Decoder::text`].
    Text,
    /// A ping, to be answered with its payload: [`Decoder::control`].
    Ping,
    /// A pong.
    Pong,
    /// The other side closes, with this code if it says one; the words are [`Decoder::control`]
    /// without its first two bytes.
    Close(Option<u16>),
}

/// A frame whose payload is not complete.
#[derive(Debug, Clone, Copy)]
struct Begun {
    opcode: OpCode,
    is_final: bool,
    mask: Option<[u8; 4]>,
    taken: usize,
    left: usize,
}

/// Puts texts together, of one or more frames, as their bytes come in.
#[derive(Debug)]
pub struct Decoder {
    /// Whose end of the connection this is.
    side: Side,
    frame: Option<Begun>,
    /// The text, as far as it has come.
    text: Vec<u8>,
    /// Whether more fragments of a text are to come.
    in_text: bool,
    /// Whether the text was given out.
    is_given: bool,
    control: Vec<u8>,
}

impl Decoder {
    /// For the end of `side`.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            frame: None,
            text: Vec::new(),
            in_text: false,
            is_given: false,
            control: Vec::new(),
        }
    }

    /// The text that came last.
    #[must_use]
    pub fn text(&self) -> &str {
        // It was looked at when it was complete.
        if self.is_given { std::str::from_utf8(&self.text).unwrap_or_default() } else { "" }
    }

    /// The payload of the control frame that came last.
    #[must_use]
    pub fn control(&self) -> &[u8] {
        &self.control
    }

    /// Takes bytes out of `input` until a text or a control frame is complete. `None`: all that can
    /// be taken was.
    ///
    /// # Errors
    ///
    /// See [`Fault`]. The decoder is of no further use.
    pub fn decode(&mut self, input: &mut Buffer) -> Result<Option<Frame>, Fault> {
        if self.is_given {
            self.is_given = false;
            self.text.clear();
            self.text.shrink_to(KEPT_BYTES);
        }
        loop {
            let begun = match self.frame.take() {
                Some(begun) => begun,
                None => match self.head(input)? {
                    Some(begun) => begun,
                    None => return Ok(None),
                },
            };
            let begun = self.take(begun, input);
            if begun.left > 0 {
                self.frame = Some(begun);
                return Ok(None);
            }
            match begun.opcode {
                OpCode::Control(Control::Ping) => return Ok(Some(Frame::Ping)),
                OpCode::Control(Control::Pong) => return Ok(Some(Frame::Pong)),
                OpCode::Control(_) => return self.close().map(Some),
                OpCode::Data(_) if begun.is_final => {
                    std::str::from_utf8(&self.text).map_err(|_| Fault::NotUtf8)?;
                    self.in_text = false;
                    self.is_given = true;
                    return Ok(Some(Frame::Text));
                }
                OpCode::Data(_) => self.in_text = true,
            }
        }
    }

    /// Reads a head and checks it.
    fn head(&mut self, input: &mut Buffer) -> Result<Option<Begun>, Fault> {
        let mut cursor = Cursor::new(input.as_slice());
        let parsed = FrameHeader::parse(&mut cursor);
        // The one thing it refuses.
        let parsed = parsed.map_err(|_| Fault::Protocol("a frame has an unknown opcode"))?;
        let Some((head, length)) = parsed else { return Ok(None) };
        let head_len = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        input.consume(head_len);
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(Fault::Protocol("a frame has reserved bits set"));
        }
        match (self.side, head.mask) {
            (Side::Hub, None) => return Err(Fault::Protocol("a frame of a client is not masked")),
            (Side::Client, Some(_)) => return Err(Fault::Protocol("a frame of a hub is masked")),
            _ => {}
        }
        match head.opcode {
            OpCode::Control(_) => {
                if !head.is_final {
                    return Err(Fault::Protocol("a control frame is fragmented"));
                }
                if length > CONTROL_BYTES_MAX {
                    return Err(Fault::Protocol("a control frame is too long"));
                }
                self.control.clear();
            }
            OpCode::Data(Data::Continue) if !self.in_text => {
                return Err(Fault::Protocol("a fragment continues nothing"));
            }
            OpCode::Data(Data::Text) if self.in_text => {
                return Err(Fault::Protocol("a text begins within another"));
            }
            OpCode::Data(Data::Text | Data::Continue) => {
                if length > MACHINE_TEXT_BYTES_MAX - self.text.len() {
                    return Err(Fault::TooLarge);
                }
            }
            OpCode::Data(_) => return Err(Fault::NotText),
        }
        let FrameHeader { opcode, is_final, mask, .. } = head;
        Ok(Some(Begun { opcode, is_final, mask, taken: 0, left: length }))
    }

    /// Takes what is there of the payload of `begun`.
    fn take(&mut self, begun: Begun, input: &mut Buffer) -> Begun {
        let here = input.as_slice();
        let here = here.get(..begun.left).unwrap_or(here);
        let payload = match begun.opcode {
            OpCode::Control(_) => &mut self.control,
            OpCode::Data(_) => &mut self.text,
        };
        let start = payload.len();
        payload.extend_from_slice(here);
        if let (Some(mask), Some(new)) = (begun.mask, payload.get_mut(start..)) {
            apply(mask, begun.taken, new);
        }
        let count = here.len();
        input.consume(count);
        Begun { taken: begun.taken + count, left: begun.left - count, ..begun }
    }

    fn close(&self) -> Result<Frame, Fault> {
        match self.control.split_first_chunk::<2>() {
            None if self.control.is_empty() => Ok(Frame::Close(None)),
            None => Err(Fault::Protocol("a close has half a code")),
            Some((code, words)) => {
                let code = u16::from_be_bytes(*code);
                if !CloseCode::from(code).is_allowed() {
                    return Err(Fault::Protocol("a close has a code that is none"));
                }
                std::str::from_utf8(words).map_err(|_| Fault::NotUtf8)?;
                Ok(Frame::Close(Some(code)))
            }
        }
    }
}

/// Masks, or takes the mask off (RFC 6455 section 5.3); `bytes` begin `at` bytes into the payload.
fn apply(mask: [u8; 4], at: usize, bytes: &mut [u8]) {
    let mut mask = mask;
    mask.rotate_left(at % 4);
    let mut chunks = bytes.chunks_exact_mut(4);
    for chunk in &mut chunks {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// Writes frames.
#[derive(Debug)]
pub struct Encoder {
    side: Side,
    masks: [[u8; 4]; MASKS],
    /// Masks not used yet: the first ones.
    left: usize,
}

impl Encoder {
    /// For the end of `side`.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self { side, masks: [[0; 4]; MASKS], left: 0 }
    }

    /// Appends a text, in one frame.
    ///
    /// # Errors
    ///
    /// [`Full`] if it does not fit; then nothing was appended.
    pub fn text(&mut self, out: &mut Buffer, text: &str) -> Result<(), Full> {
        self.frame(out, OpCode::Data(Data::Text), &[text.as_bytes()])
    }

    /// Appends a ping without payload.
    ///
    /// # Errors
    ///
    /// As [`Encoder::text`].
    pub fn ping(&mut self, out: &mut Buffer) -> Result<(), Full> {
        self.frame(out, OpCode::Control(Control::Ping), &[])
    }

    /// Appends the answer to a ping.
    ///
    /// # Errors
    ///
    /// As [`Encoder::text`].
    pub fn pong(&mut self, out: &mut Buffer, payload: &[u8]) -> Result<(), Full> {
        self.frame(out, OpCode::Control(Control::Pong), &[payload])
    }

    /// Appends a close, with as much of the words as has room.
    ///
    /// # Errors
    ///
    /// As [`Encoder::text`].
    pub fn close(&mut self, out: &mut Buffer, code: u16, words: &str) -> Result<(), Full> {
        let mut ends = (0..=words.len().min(CONTROL_BYTES_MAX - 2)).rev();
        let words = ends.find_map(|end| words.get(..end)).unwrap_or_default();
        self.frame(out, OpCode::Control(Control::Close), &[&code.to_be_bytes(), words.as_bytes()])
    }

    fn frame(&mut self, out: &mut Buffer, opcode: OpCode, pieces: &[&[u8]]) -> Result<(), Full> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mask = (self.side == Side::Client).then(|| self.mask());
        let head = FrameHeader { is_final: true, opcode, mask, ..FrameHeader::default() };
        let mut bytes = Vec::with_capacity(14);
        // Into memory: does not fail.
        let _ = head.format(length as u64, &mut bytes);
        let start = out.len() + bytes.len();
        let [first, second] = [pieces.first(), pieces.get(1)].map(Option::<&&[u8]>::copied);
        out.extend_all(&[&bytes, first.unwrap_or_default(), second.unwrap_or_default()])?;
        if let (Some(mask), Some(payload)) = (mask, out.as_mut_slice().get_mut(start..)) {
            apply(mask, 0, payload);
        }
        Ok(())
    }

    /// A mask that nobody can know before (RFC 6455 section 5.3).
    fn mask(&mut self) -> [u8; 4] {
        if self.left == 0 {
            let filled = getrandom::fill(self.masks.as_flattened_mut());
            // Within TLS no proxy sees a frame, which is what masks are for.
            debug_assert!(filled.is_ok());
            self.left = MASKS;
        }
        self.left -= 1;
        self.masks.get(self.left).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of `bytes` at the end of `side`, in pieces of `step` bytes.
    fn decoded(side: Side, bytes: &[u8], step: usize) -> Result<Vec<String>, Fault> {
        let mut decoder = Decoder::new(side);
        let mut input = Buffer::new(8192);
        let mut found = Vec::new();
        for piece in bytes.chunks(step) {
            input.extend(piece).unwrap();
            while let Some(frame) = decoder.decode(&mut input)? {
                found.push(match frame {
                    Frame::Text => format!("text {}", decoder.text()),
                    Frame::Ping => format!("ping {:?}", decoder.control()),
                    Frame::Pong => format!("pong {:?}", decoder.control()),
                    Frame::Close(code) => format!("close {code:?}"),
                });
            }
            assert!(input.len() < 14, "no more than part of a head is left");
        }
        Ok(found)
    }

    /// The same for any steps.
    fn all(side: Side, bytes: &[u8]) -> Result<Vec<String>, Fault> {
        let whole = decoded(side, bytes, 8000);
        for step in [1, 2, 3, 7] {
            assert_eq!(decoded(side, bytes, step), whole, "in steps of {step}");
        }
        whole
    }

    fn protocol(side: Side, bytes: &[u8]) -> &'static str {
        match all(side, bytes) {
            Err(Fault::Protocol(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn examples_of_the_rfc() {
        // RFC 6455 section 5.7.
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(all(Side::Hub, &masked).unwrap(), ["text Hello"]);
        let fragments = [0x01, 3, 0x48, 0x65, 0x6c, 0x89, 1, 7, 0x80, 2, 0x6c, 0x6f, 0x8a, 0];
        let found = all(Side::Client, &fragments).unwrap();
        assert_eq!(found, ["ping [7]", "text Hello", "pong []"]);
        assert_eq!(all(Side::Client, &[0x88, 2, 3, 0xe8]).unwrap(), ["close Some(1000)"]);
        assert_eq!(all(Side::Client, &[0x88, 0]).unwrap(), ["close None"]);
    }

    #[test]
    fn what_one_end_writes_the_other_reads() {
        for (from, to) in [(Side::Hub, Side::Client), (Side::Client, Side::Hub)] {
            let mut encoder = Encoder::new(from);
            let mut out = Buffer::new(1 << 20);
            let texts = ["", "ä", &"x".repeat(125), &"y".repeat(126), &"z".repeat(70_000)];
            for text in texts {
                encoder.text(&mut out, text).unwrap();
            }
            encoder.ping(&mut out).unwrap();
            encoder.pong(&mut out, b"abc").unwrap();
            encoder.close(&mut out, 1002, &"ä".repeat(100)).unwrap();
            let found = decoded(to, out.as_slice(), 1000).unwrap();
            for (found, text) in found.iter().zip(texts) {
                assert_eq!(*found, format!("text {text}"));
            }
            assert_eq!(found[5..], ["ping []", "pong [97, 98, 99]", "close Some(1002)"]);
        }
        let mut small = Buffer::new(9);
        assert_eq!(Encoder::new(Side::Hub).text(&mut small, "12345678"), Err(Full));
        assert!(small.is_empty());
    }

    #[test]
    fn heads_that_break_a_rule_end_it_before_their_payload() {
        assert_eq!(protocol(Side::Hub, &[0x81, 1]), "a frame of a client is not masked");
        let masked = [0x81, 0x81, 1, 2, 3, 4];
        assert_eq!(protocol(Side::Client, &masked), "a frame of a hub is masked");
        assert_eq!(protocol(Side::Client, &[0xc1, 1]), "a frame has reserved bits set");
        assert_eq!(protocol(Side::Client, &[0x83, 1]), "a frame has an unknown opcode");
        assert_eq!(protocol(Side::Client, &[0x09, 1]), "a control frame is fragmented");
        assert_eq!(protocol(Side::Client, &[0x89, 126, 0, 126]), "a control frame is too long");
        assert_eq!(protocol(Side::Client, &[0x80, 1]), "a fragment continues nothing");
        let within = [0x01, 1, b'a', 0x81, 1];
        assert_eq!(protocol(Side::Client, &within), "a text begins within another");
        assert_eq!(protocol(Side::Client, &[0x88, 1, 3]), "a close has half a code");
        assert_eq!(protocol(Side::Client, &[0x88, 2, 0, 0]), "a close has a code that is none");
        assert_eq!(all(Side::Client, &[0x82, 1]), Err(Fault::NotText));
        assert_eq!(all(Side::Client, &[0x01, 1, b'a', 0x82, 1]), Err(Fault::NotText));
        for bad in [&[0x81, 1, 0xff][..], &[0x01, 1, 0xc3, 0x80, 0], &[0x88, 3, 3, 0xe8, 0xff]] {
            assert_eq!(all(Side::Client, bad), Err(Fault::NotUtf8), "{bad:x?}");
        }
        assert_eq!(all(Side::Client, &[0x01, 1, 0xc3, 0x80, 1, 0xa4]).unwrap(), ["text ä"]);
        let codes = [Fault::Protocol(""), Fault::NotText, Fault::NotUtf8, Fault::TooLarge];
        assert_eq!(codes.map(Fault::code), [1002, 1003, 1007, 1009]);
    }

    #[test]
    fn a_text_has_a_length_and_its_memory_is_given_back() {
        let claim = |length: u64| [&[0x81, 127][..], &length.to_be_bytes()].concat();
        assert_eq!(all(Side::Client, &claim(8 << 20 | 1)), Err(Fault::TooLarge));
        assert_eq!(all(Side::Client, &claim(u64::MAX >> 1)), Err(Fault::TooLarge));
        let mut decoder = Decoder::new(Side::Client);
        let mut input = Buffer::new(1 << 16);
        input.extend(&claim(8 << 20)).unwrap();
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert_eq!(decoder.text.capacity(), 0, "a claim costs nothing");
        let part = vec![b'x'; 1 << 16];
        for _ in 0..127 {
            input.extend(&part).unwrap();
            assert_eq!(decoder.decode(&mut input), Ok(None));
        }
        input.extend(&part).unwrap();
        assert_eq!(decoder.decode(&mut input), Ok(Some(Frame::Text)));
        assert_eq!(decoder.text().len(), 8 << 20);
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert!(decoder.text.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn fragments_count_together_and_empty_ones_cost_nothing() {
        let mut decoder = Decoder::new(Side::Client);
        let mut input = Buffer::new(1 << 16);
        input.extend(&[0x01, 0]).unwrap();
        let empty = vec![0; 60_000];
        for _ in 0..100 {
            input.extend(&empty).unwrap();
            assert_eq!(decoder.decode(&mut input), Ok(None));
        }
        assert_eq!(decoder.text.capacity(), 0);
        let fragment = [&[0, 126, 0x80, 0][..], &vec![b'x'; 0x8000]].concat();
        for _ in 0..256 {
            input.extend(&fragment).unwrap();
            assert_eq!(decoder.decode(&mut input), Ok(None));
        }
        input.extend(&[0, 1]).unwrap();
        assert_eq!(decoder.decode(&mut input), Err(Fault::TooLarge));
    }
}
