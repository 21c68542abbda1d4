//! The relay's connection to its hub: what [`Uplink`] says and hears, over a [`Channel`].
//!
//! It is told when the stream has something to read or room to write, and knows no poll.

use std::io::{Read, Write};

use super::ConnectionStep;
use crate::broker::held::Asker;
use crate::broker::uplink::Uplink;
use crate::lan::channel::{CLOSE_NORMAL, Channel, Event};
use crate::limits::UPLINK_QUEUE_BYTES_MAX;
use crate::model::Now;

/// What is to be done about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Progress {
    /// Wait for the stream.
    Wait,
    /// Go on in the next turn, though the stream may say nothing.
    Again,
    /// It is over, and [`Uplink`] knows.
    Over,
}

/// See the module.
pub(in crate::broker) struct UplinkChannel<T> {
    channel: Channel<T>,
    /// Bytes that had come when that was last looked at.
    received: u64,
}

impl<T: Read + Write> UplinkChannel<T> {
    /// Over a channel that is open.
    pub(in crate::broker) fn new(channel: Channel<T>) -> Self {
        Self { channel, received: 0 }
    }

    /// Goes on as far as the stream lets it. `jitter`, any number, is for [`Uplink::disconnected`].
    pub(in crate::broker) fn go_on(
        &mut self,
        uplink: &mut Uplink<Asker>,
        now: Now,
        jitter: u8,
    ) -> Progress {
        let mut progress = Progress::Wait;
        loop {
            match self.channel.advance() {
                Ok(None) => break,
                Ok(Some(Event::Again)) => {
                    progress = Progress::Again;
                    break;
                }
                Ok(Some(Event::Text(text))) => uplink.frame(text, now.mono),
                // Signs of life, which are counted by their bytes; the rest came before.
                Ok(Some(Event::Ping | Event::Pong | Event::Open(_) | Event::Upgrade(_))) => {}
                Err(ended) => {
                    uplink.disconnected(&ended.to_string(), now.mono, jitter);
                    return Progress::Over;
                }
            }
        }
        let received = self.channel.received();
        if std::mem::replace(&mut self.received, received) != received {
            uplink.heard(now.mono);
        }
        self.send(uplink, now);
        progress
    }

    /// Sends what waits, as much as the connection may have waiting.
    pub(in crate::broker) fn send(&mut self, uplink: &mut Uplink<Asker>, now: Now) {
        let before = self.channel.pending();
        while self.channel.is_open()
            && self.channel.pending() < UPLINK_QUEUE_BYTES_MAX
            && let Some(frame) = uplink.next_frame(now.mono)
        {
            if self.channel.send(&frame).is_err() {
                // What was asked for counts as sent.
                self.channel.close(CLOSE_NORMAL, "a frame is too long to be sent");
            }
        }
        self.channel.flush();
        if self.channel.pending() < before {
            uplink.moved(now.mono);
        }
    }

    /// Whether something waits to be written.
    pub(in crate::broker) fn has_output(&self) -> bool {
        self.channel.pending() > 0
    }

    /// Does what the uplink has asked for.
    pub(in crate::broker) fn carry_out(
        &mut self,
        step: &ConnectionStep,
        uplink: &mut Uplink<Asker>,
        now: Now,
        jitter: u8,
    ) {
        match step {
            // That makes another one of these.
            ConnectionStep::Dial => {}
            ConnectionStep::Ping => _ = self.channel.ping(),
            ConnectionStep::HangUp(words) => {
                self.channel.close(CLOSE_NORMAL, words);
                uplink.disconnected(words, now.mono, jitter);
            }
        }
        self.channel.flush();
    }
}

#[cfg(test)]
mod tests;
