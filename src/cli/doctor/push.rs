//! Checks delivery: a message to a peer of our own, over a real push socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Report;
use crate::api::{
    Fetch, Frame, Messages, Place, Register, Registered, Request, SendMessage, ack_line, read_frame,
};
use crate::client::{Client, StartPolicy, new_id};
use crate::config::Config;
use crate::limits::FRAME_BYTES_MAX;
use crate::model::{MessageKind, OF_DOCTOR, Timestamp};
use crate::platform::poll_readable;

/// How long the push may take before it counts as lost.
const PUSH_TIME_MAX: Duration = Duration::from_secs(5);

const CHECK: &str = "push";

/// The peer. Dropping it removes it and its socket.
struct Probe {
    client: Client,
    socket: PathBuf,
}

impl Drop for Probe {
    fn drop(&mut self) {
        // The broker would also notice the end of its process.
        let _ = self.client.call_bytes(&Request::Unregister { peer_id: None, away: false });
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Sends a message to a peer of our own and waits until it was pushed, confirmed and fetched.
/// Gives the time at which it was stored, by the clock of whoever has stored it, if that worked.
pub(super) fn round_trip(
    report: &mut Report,
    config: &Config,
    client: &mut Client,
) -> Option<Timestamp> {
    match try_round_trip(config, client) {
        Ok((took, at)) => {
            let ms = took.as_secs_f64() * 1000.0;
            report.ok(CHECK, format!("a message to a peer of its own came in {ms:.2} ms"));
            Some(at)
        }
        Err(why) => {
            report.bad(
                CHECK,
                why,
                "broker.log in the data directory says more with SLM_MESH_LOG=debug",
            );
            None
        }
    }
}

fn try_round_trip(config: &Config, client: &mut Client) -> Result<(Duration, Timestamp), String> {
    let id = new_id().unwrap_or_else(Uuid::nil);
    let socket = config.paths.peer_socket(id);
    let listener = listen(&socket)?;
    let word = id.simple().to_string();
    let name = format!("doctor-{}", word.get(..8).unwrap_or_default());
    let text = format!("slm-mesh doctor looks whether {name} gets a message");
    let register = Register {
        pid: std::process::id(),
        project_path: config.paths.dir().to_string_lossy().into(),
        name: Some(name.into()),
        agent_type: Some(OF_DOCTOR.into()),
        uds_path: Some(socket.to_string_lossy().into()),
        acks: true,
        private: true,
        ..Register::default()
    };
    let registered: Result<Registered, _> = client.call(&Request::Register(Box::new(register)));
    let registered = registered.map_err(|error| {
        let _ = std::fs::remove_file(&socket);
        error.to_string()
    })?;
    let own = Client::open(config, StartPolicy::Never).map_err(|error| error.to_string())?;
    let mut probe = Probe { client: own, socket };
    probe.client.use_token(&registered.peer_token);

    let deadline = Instant::now() + PUSH_TIME_MAX;
    let mut stream = accept(&listener, deadline)?;
    let begun = Instant::now();
    let send = Request::Send(SendMessage {
        from_peer: None,
        to_peer: registered.peer_id.to_string().into(),
        payload: text.as_str().into(),
        kind: MessageKind::Text,
        reply_to: None,
        id: Some(id),
        place: Place::default(),
    });
    probe.client.call_bytes(&send).map_err(|error| error.to_string())?;
    let message = receive(&stream, &text, deadline)?;
    let took = begun.elapsed();
    stream
        .write_all(ack_line(message).as_bytes())
        .map_err(|error| format!("the push socket cannot be written to: {error}"))?;
    let fetched: Messages =
        probe.client.call(&Request::Fetch(Fetch::default())).map_err(|error| error.to_string())?;
    let found = fetched.messages.iter().find(|message| *message.payload == *text);
    let found = found.ok_or("the message was pushed but is not in the inbox")?;
    Ok((took, found.created_at))
}

fn listen(socket: &Path) -> Result<UnixListener, String> {
    UnixListener::bind(socket)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| format!("no socket can be made in {}: {error}", socket.display()))
}

fn accept(listener: &UnixListener, deadline: Instant) -> Result<UnixStream, String> {
    let late = || format!("the broker did not connect within {} s", PUSH_TIME_MAX.as_secs());
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        match listener.accept() {
            Ok((stream, _)) => {
                stream
                    .set_nonblocking(false)
                    .and_then(|()| stream.set_write_timeout(Some(PUSH_TIME_MAX)))
                    .map_err(|error| format!("the push socket cannot be used: {error}"))?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_readable(listener, Some(left))
                    .map_err(|error| format!("the push socket cannot be waited for: {error}"))?;
            }
            Err(error) => return Err(format!("the broker cannot connect: {error}")),
        }
    }
}

/// The id of the message with this text, once it comes.
fn receive(
    stream: &UnixStream,
    text: &str,
    deadline: Instant,
) -> Result<crate::model::MessageId, String> {
    let mut reader = BufReader::new(stream);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("it was not pushed within {} s", PUSH_TIME_MAX.as_secs()));
        }
        let mut line = Vec::new();
        let limit = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX);
        let read = stream
            .set_read_timeout(Some(left))
            .and_then(|()| reader.by_ref().take(limit).read_until(b'\n', &mut line));
        match read {
            Ok(0) => return Err("the broker hung up before it pushed".into()),
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(error) => return Err(format!("the push socket cannot be read: {error}")),
        }
        match read_frame(&line) {
            Ok(Frame::Message(message)) if *message.text == *text => return Ok(message.message_id),
            Ok(_) => {}
            Err(error) => return Err(format!("what was pushed cannot be read: {error}")),
        }
    }
}
