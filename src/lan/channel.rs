//! The connection between a relay and its hub: TLS, then the upgrade, then texts, as one state machine
//! over any stream that does not block.
//!
//! The owner calls [`Channel::advance`] when the stream may be readable, until it says that there is no
//! more, and [`Channel::flush`] when it may be writable or something was sent. Time is the owner's: how
//! long a handshake may take, when to ping, when to give up. So is how much it sends: while
//! [`Channel::pending`] is [`crate::limits::MACHINE_OUT_BYTES_MAX`] or more it should send, and a hub
//! read, nothing.
//!
//! | phase | hub | relay |
//! |---|---|---|
//! | TLS | | |
//! | upgrade | reads the request | sends the request, with its proof if it has a secret, and reads the answer |
//! | asked | the owner decides: [`Channel::accept`], [`Channel::refuse`] | |
//! | open | texts | texts, once the hub has proved that it has the secret, too |
//! | over | what was said last is written, what comes is thrown away, until the other side closes | the same |

mod ended;

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ClientConnection, Connection, Error, ServerConfig, ServerConnection};

use super::key::MachineKey;
use super::secret::{SharedKey, Side};
use super::tls::{self, Met};
use super::upgrade::{self, Accept, Bearer, UpgradeAnswer};
use super::websocket::{Decoder, Encoder, Frame};
use crate::api::{Code, Refusal};
use crate::limits::{
    MACHINE_HEAD_BYTES_MAX, MACHINE_OUT_BYTES_MAX, MACHINE_READ_BYTES, MACHINE_TEXT_BYTES_MAX,
    MACHINE_TURN_BYTES,
};
use crate::model::{InvitationToken, MachineId, MachineName};
use crate::wire::buffer::{Buffer, Full};

pub use ended::Ended;
use ended::{NO_SECRET, SECRET_DIFFERS};

/// Most that waits in a channel: what it may have, one more text, and what it says by itself.
const OUT_BYTES: usize = MACHINE_OUT_BYTES_MAX + MACHINE_TEXT_BYTES_MAX + MACHINE_HEAD_BYTES_MAX;
/// The code of a close without a fault (RFC 6455 section 7.4.1).
pub const CLOSE_NORMAL: u16 = 1000;
/// The code of a close by a side that ends.
pub const CLOSE_AWAY: u16 = 1001;
/// The code of a close for what is against a rule of the mesh.
pub const CLOSE_POLICY: u16 = 1008;

/// What a hub accepts machines with.
#[derive(Debug)]
pub struct Hub {
    tls: Arc<ServerConfig>,
    id: MachineId,
    secret: Option<SharedKey>,
}

impl Hub {
    /// A hub with this key and, if there is one, this shared secret.
    ///
    /// # Errors
    ///
    /// As [`tls::hub`].
    pub fn new(key: &MachineKey, secret: Option<SharedKey>) -> Result<Self, Error> {
        Ok(Self { tls: tls::hub(key)?, id: key.id(), secret })
    }
}

/// By what a relay comes to its hub.
#[derive(Debug, Clone)]
pub enum Way {
    /// It is known there.
    Joined(MachineId),
    /// By an invitation of this hub.
    Invited(MachineId, InvitationToken),
    /// By the shared secret: to this hub or, as long as there was none, to any that has it, too.
    Secret(SharedKey, Option<MachineId>),
}

impl Way {
    /// The hub that has to answer.
    #[must_use]
    pub fn hub(&self) -> Option<MachineId> {
        match self {
            Self::Joined(hub) | Self::Invited(hub, _) => Some(*hub),
            Self::Secret(_, hub) => *hub,
        }
    }
}

/// By what a machine asks to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// By nothing: the hub has to know it.
    Known,
    /// By the token of an invitation.
    Invitation(InvitationToken),
    /// By the shared secret, which it has proved to have.
    Secret,
}

/// A machine asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// Which. It has proved to have this key.
    pub machine: MachineId,
    /// By what.
    pub claim: Claim,
    /// The name it would like.
    pub name: Option<MachineName>,
    /// Its version.
    pub version: Box<str>,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// At a hub: to be answered with [`Channel::accept`] or [`Channel::refuse`].
    Upgrade(Upgrade),
    /// At a relay: it is let in by this hub. From now on texts may be sent.
    Open(MachineId),
    /// A text has come.
    Text(&'a str),
    /// A ping has come, and is answered.
    Ping,
    /// A pong has come.
    Pong,
    /// A flight of the handshake is done, or much was read: call again, after others have had their
    /// turn. The stream may say no more that it is readable.
    Again,
}

#[derive(Debug)]
enum Phase {
    Tls,
    /// A hub waits for the request.
    Request(Met),
    /// A hub's owner decides.
    Asked(Met, Accept, Claim),
    /// A relay waits for the answer.
    Answer(Met, Accept),
    Open,
    Over,
}

#[derive(Debug)]
enum End {
    Hub(Arc<Hub>),
    Relay(Box<Relay>),
}

/// What a relay says of itself.
#[derive(Debug)]
struct Relay {
    id: MachineId,
    way: Way,
    name: Option<MachineName>,
    version: Box<str>,
}

/// What one step has come to; as [`Event`], without what it borrows.
enum Step {
    Upgrade(Upgrade),
    Open(MachineId),
    Text,
    Ping,
    Pong,
    Again,
}

/// A connection between two machines, at either end.
pub struct Channel<T> {
    stream: T,
    tls: Connection,
    end: End,
    phase: Phase,
    /// Decrypted, not looked at.
    input: Buffer,
    /// Not encrypted yet.
    output: Buffer,
    /// Encrypted and not written, as it was before it was encrypted.
    in_tls: usize,
    decoder: Decoder,
    encoder: Encoder,
    /// Bytes that have come over the stream.
    received: u64,
    /// Whether TLS was told that nothing more follows.
    is_notified: bool,
    /// Why nothing more can be written. What the other side has said before may still be read.
    broken: Option<io::Error>,
    /// Whether nothing more can be read.
    is_gone: bool,
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("end", &self.end)
            .field("phase", &self.phase)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

impl<T> Channel<T> {
    /// The stream, to register it with a poll.
    pub fn stream_mut(&mut self) -> &mut T {
        &mut self.stream
    }

    /// Whether texts may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the channel is over, and there is nothing left to wait for: all is written and the other
    /// side has closed, or the stream has failed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_gone
    }

    /// Whether nothing more can be written: [`Channel::advance`] says so, once all is read that the other
    /// side has said before.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Bytes that have come over the stream so far: a sign of life, whatever they say.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that wait to be written, before TLS adds to them. What of the last 64 KiB has gone is
    /// known when all of them have.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.output.len() + self.in_tls
    }

    /// Whether the owner has to be told when the stream is writable.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.is_gone && (!self.output.is_empty() || self.tls.wants_write())
    }
}

impl<T: Read + Write> Channel<T> {
    /// The hub's end of a connection that a machine has made.
    ///
    /// # Errors
    ///
    /// rustls cannot make a connection of its settings.
    pub fn of_hub(stream: T, hub: &Arc<Hub>) -> Result<Self, Error> {
        let tls = ServerConnection::new(Arc::clone(&hub.tls))?;
        Ok(Self::new(stream, tls.into(), Side::Hub, End::Hub(Arc::clone(hub))))
    }

    /// The relay's end of a connection that is made, or about to be. The stream has to say `WouldBlock`
    /// until it is.
    ///
    /// # Errors
    ///
    /// rustls cannot make a connection of its settings.
    pub fn of_relay(
        stream: T,
        key: &MachineKey,
        way: Way,
        name: Option<MachineName>,
        version: &str,
    ) -> Result<Self, Error> {
        let tls = ClientConnection::new(tls::relay(key, way.hub())?, tls::no_name()?)?;
        let relay = Relay { id: key.id(), way, name, version: version.into() };
        Ok(Self::new(stream, tls.into(), Side::Client, End::Relay(Box::new(relay))))
    }

    fn new(stream: T, tls: Connection, side: Side, end: End) -> Self {
        Self {
            stream,
            tls,
            end,
            phase: Phase::Tls,
            input: Buffer::new(MACHINE_READ_BYTES),
            output: Buffer::new(OUT_BYTES),
            in_tls: 0,
            decoder: Decoder::new(side),
            encoder: Encoder::new(side),
            received: 0,
            is_notified: false,
            broken: None,
            is_gone: false,
        }
    }

    /// Puts a text behind what waits to be written. [`Channel::flush`] writes it.
    ///
    /// # Errors
    ///
    /// [`Full`] if the channel is not open, if the text is over [`MACHINE_TEXT_BYTES_MAX`], or if the
    /// owner sends on although so much waits.
    pub fn send(&mut self, text: &str) -> Result<(), Full> {
        if !self.is_open() || text.len() > MACHINE_TEXT_BYTES_MAX {
            return Err(Full);
        }
        self.encoder.text(&mut self.output, text)
    }

    /// Puts a ping behind what waits to be written.
    ///
    /// # Errors
    ///
    /// As [`Channel::send`].
    pub fn ping(&mut self) -> Result<(), Full> {
        if self.is_open() { self.encoder.ping(&mut self.output) } else { Err(Full) }
    }

    /// Lets the machine in that asks, with the hub's own proof if it has shown one. The owner goes on
    /// with [`Channel::advance`]; texts may be sent at once.
    pub fn accept(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let (Phase::Asked(met, accept, claim), End::Hub(hub)) = (phase, &self.end) else { return };
        let proof = match (&hub.secret, claim) {
            (Some(secret), Claim::Secret) => {
                Some(secret.prove(Side::Hub, &met.exporter, hub.id, met.machine))
            }
            _ => None,
        };
        if upgrade::encode_accept(&mut self.output, &accept, proof).is_ok() {
            self.phase = Phase::Open;
        }
    }

    /// Does not let the machine in that asks, and tells it why. The channel is over.
    pub fn refuse(&mut self, refusal: &Refusal) {
        if let Phase::Request(_) | Phase::Asked(..) = self.phase {
            // An empty buffer has room.
            let _ = upgrade::encode_refusal(&mut self.output, refusal);
        }
        self.phase = Phase::Over;
    }

    /// Closes, with words of which 123 bytes have room. The channel is over; the owner goes on until
    /// [`Channel::is_done`], or until it has waited long enough.
    pub fn close(&mut self, code: u16, words: &str) {
        if self.is_open() {
            let _ = self.encoder.close(&mut self.output, code, words);
        }
        self.phase = Phase::Over;
    }

    /// Goes on as far as the stream lets it, up to the next event. `None`: to be called again when the
    /// stream is readable or, in phase asked, after the decision.
    ///
    /// # Errors
    ///
    /// Why the channel is over, said once. The owner goes on until [`Channel::is_done`], so that the
    /// other side hears of it, or until it has waited long enough.
    pub fn advance(&mut self) -> Result<Option<Event<'_>>, Ended> {
        let step = self.step().inspect_err(|ended| self.fail(ended))?;
        Ok(step.map(|step| match step {
            Step::Upgrade(upgrade) => Event::Upgrade(upgrade),
            Step::Open(hub) => Event::Open(hub),
            Step::Text => Event::Text(self.decoder.text()),
            Step::Ping => Event::Ping,
            Step::Pong => Event::Pong,
            Step::Again => Event::Again,
        }))
    }

    fn step(&mut self) -> Result<Option<Step>, Ended> {
        let turn_end = self.received + MACHINE_TURN_BYTES as u64;
        loop {
            let step = self.act()?;
            self.flush();
            if step.is_some() {
                return Ok(step);
            }
            match self.phase {
                Phase::Asked(..) => return Ok(None),
                Phase::Over => {
                    self.drain();
                    return Ok(None);
                }
                _ if self.received >= turn_end => return Ok(Some(Step::Again)),
                _ => {}
            }
            match self.fill() {
                Ok(Filled::Some) => {}
                Ok(Filled::Flight) => {
                    self.flush();
                    return Ok(Some(Step::Again));
                }
                Ok(Filled::Nothing) if self.broken.is_none() => return Ok(None),
                Ok(Filled::Nothing) | Err(Ended::Lost) => {
                    return Err(self.broken.take().map_or(Ended::Lost, Ended::Io));
                }
                Err(ended) => return Err(ended),
            }
        }
    }

    /// Writes as much as the stream takes. That it fails is told by [`Channel::advance`], after what
    /// the other side has said before.
    pub fn flush(&mut self) {
        if self.broken.is_none() {
            self.broken = self.write_out().err();
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.stream) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            }
            self.in_tls = 0;
            if self.tls.is_handshaking() {
                return Ok(());
            }
            if !self.output.is_empty() {
                // As much as TLS keeps at once; the rest when that is written.
                self.in_tls = self.output.write_to(&mut self.tls.writer())?;
            } else if matches!(self.phase, Phase::Over) && !self.is_notified {
                self.is_notified = true;
                self.tls.send_close_notify();
            } else {
                return Ok(());
            }
        }
    }

    /// Reads once, or takes what was decrypted and had no room.
    fn fill(&mut self) -> Result<Filled, Ended> {
        if !self.tls.is_handshaking() {
            match self.input.read_from(&mut self.tls.reader(), MACHINE_READ_BYTES) {
                Ok(0) => return Err(Ended::Lost),
                Ok(_) => return Ok(Filled::Some),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Ended::Lost);
                }
                // A head that fills all of it and has no end.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    return Err(Ended::TooMuch);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let read = loop {
            match self.tls.read_tls(&mut self.stream) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Filled::Nothing);
                }
                other => break other?,
            }
        };
        self.received += read as u64;
        let was_handshaking = self.tls.is_handshaking();
        self.tls.process_new_packets()?;
        if read == 0 && was_handshaking {
            return Err(Ended::Lost);
        }
        let is_before = !matches!(self.phase, Phase::Open | Phase::Over);
        if is_before && self.received > MACHINE_HEAD_BYTES_MAX as u64 {
            return Err(Ended::TooMuch);
        }
        let is_flight = was_handshaking && (self.tls.wants_write() || !self.tls.is_handshaking());
        Ok(if is_flight { Filled::Flight } else { Filled::Some })
    }

    /// Reads and forgets, so that what was written last is not lost to a reset; up to a turn's share.
    fn drain(&mut self) {
        let mut bytes = [0; 4096];
        for _ in 0..MACHINE_TURN_BYTES / bytes.len() {
            match self.stream.read(&mut bytes) {
                Ok(count) if count > 0 => self.received += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {
                    self.is_gone = true;
                    return;
                }
            }
        }
    }

    /// Acts on what is there, in the phase that it is.
    fn act(&mut self) -> Result<Option<Step>, Ended> {
        match &self.phase {
            Phase::Tls if !self.tls.is_handshaking() => {
                let met = tls::met(&self.tls)?;
                self.phase = self.ask(met)?;
                Ok(None)
            }
            Phase::Request(met) => {
                let met = *met;
                let request = upgrade::decode_request(self.input.as_slice());
                let Some(request) = request.map_err(Ended::NoRequest)? else { return Ok(None) };
                self.input.clear();
                let claim = self.claim(request.bearer, met)?;
                self.phase = Phase::Asked(met, request.accept, claim);
                let upgrade::Request { name, version, .. } = request;
                let machine = met.machine;
                Ok(Some(Step::Upgrade(Upgrade { machine, claim, name, version })))
            }
            Phase::Answer(met, accept) => {
                let met = *met;
                let answer = upgrade::decode_answer(self.input.as_slice(), accept);
                match answer.map_err(Ended::NoHub)? {
                    None => Ok(None),
                    Some(UpgradeAnswer::Refused(refused)) => Err(Ended::Refused(refused)),
                    Some(UpgradeAnswer::Open { proof, len }) => {
                        self.input.consume(len);
                        if let End::Relay(relay) = &self.end
                            && let Relay { id, way: Way::Secret(secret, _), .. } = &**relay
                        {
                            let is_proved = proof.is_some_and(|proof| {
                                let hub = met.machine;
                                secret.is_proved(&proof, Side::Hub, &met.exporter, hub, *id)
                            });
                            if !is_proved {
                                return Err(Ended::SecretDiffers);
                            }
                        }
                        self.phase = Phase::Open;
                        Ok(Some(Step::Open(met.machine)))
                    }
                }
            }
            Phase::Open => self.take_frame(),
            Phase::Tls | Phase::Asked(..) | Phase::Over => Ok(None),
        }
    }

    /// TLS is done: a relay asks to be let in.
    fn ask(&mut self, met: Met) -> Result<Phase, Ended> {
        let End::Relay(relay) = &self.end else { return Ok(Phase::Request(met)) };
        let Relay { id, way, name, version } = &**relay;
        let bearer = match way {
            Way::Joined(_) => None,
            Way::Invited(_, token) => Some(Bearer::Invitation(*token)),
            Way::Secret(secret, _) => {
                let proof = secret.prove(Side::Client, &met.exporter, met.machine, *id);
                Some(Bearer::Proof(proof))
            }
        };
        let accept = upgrade::encode_request(&mut self.output, bearer, *name, version);
        let accept = accept.map_err(io::Error::from)?;
        Ok(Phase::Answer(met, accept))
    }

    /// By what a machine asks, if that is true.
    fn claim(&self, bearer: Option<Bearer>, met: Met) -> Result<Claim, Ended> {
        match (bearer, &self.end) {
            (None, _) => Ok(Claim::Known),
            (Some(Bearer::Invitation(token)), _) => Ok(Claim::Invitation(token)),
            (Some(Bearer::Proof(proof)), End::Hub(hub)) => {
                let Some(secret) = &hub.secret else {
                    return Err(Ended::NoRequest(Refusal::new(Code::Unauthorized, NO_SECRET)));
                };
                let is_proved =
                    secret.is_proved(&proof, Side::Client, &met.exporter, hub.id, met.machine);
                if is_proved { Ok(Claim::Secret) } else { Err(Ended::SecretDiffers) }
            }
            (Some(Bearer::Proof(_)), End::Relay(_)) => Err(Ended::SecretDiffers),
        }
    }

    fn take_frame(&mut self) -> Result<Option<Step>, Ended> {
        let frame = self.decoder.decode(&mut self.input).map_err(Ended::Fault)?;
        Ok(match frame {
            None => None,
            Some(Frame::Text) => Some(Step::Text),
            Some(Frame::Ping) => {
                // Who pings and takes no pong has enough of them waiting.
                if self.output.len() < MACHINE_OUT_BYTES_MAX {
                    let _ = self.encoder.pong(&mut self.output, self.decoder.control());
                }
                Some(Step::Ping)
            }
            Some(Frame::Pong) => Some(Step::Pong),
            Some(Frame::Close(code)) => {
                let words = self.decoder.control().get(2..).unwrap_or_default();
                let words = String::from_utf8_lossy(words).into();
                return Err(Ended::Closed(code, words));
            }
        })
    }

    /// The channel is over: tells the other side, as far as it can be told.
    fn fail(&mut self, ended: &Ended) {
        match ended {
            Ended::Io(_) | Ended::Lost => self.is_gone = true,
            Ended::TooMuch => {
                let most = format!("a request has at most {MACHINE_HEAD_BYTES_MAX} bytes");
                self.refuse(&Refusal::new(Code::HeadersTooLarge, most));
            }
            Ended::NoRequest(refusal) => self.refuse(refusal),
            Ended::SecretDiffers if matches!(self.phase, Phase::Answer(..)) => {
                let _ = self.encoder.close(&mut self.output, CLOSE_POLICY, SECRET_DIFFERS);
            }
            Ended::SecretDiffers => self.refuse(&Refusal::new(Code::Unauthorized, SECRET_DIFFERS)),
            Ended::Fault(fault) => self.close(fault.code(), &fault.to_string()),
            Ended::Closed(code, _) => self.close(code.unwrap_or(CLOSE_NORMAL), ""),
            Ended::AnotherHub(_) | Ended::Tls(_) | Ended::NoHub(_) | Ended::Refused(_) => {}
        }
        self.phase = Phase::Over;
        self.input.clear();
        // An alert of TLS, the last words.
        self.flush();
    }
}

/// What a read has come to.
enum Filled {
    /// The stream has nothing.
    Nothing,
    /// Something.
    Some,
    /// A flight of the handshake.
    Flight,
}

#[cfg(test)]
mod tests;
