//! The driver for programs that do one thing at a time: command line and hooks.

use std::io;
use std::time::Instant;

use serde::de::DeserializeOwned;

use super::call::{Call, CallStep, StartPolicy};
use super::connection::BrokerAnswer;
use super::error::ClientError;
use super::launch;
use super::locate::{Broker, locate};
use super::reach::BrokerSocket;
use crate::api::{Code, Request};
use crate::config::Config;
use crate::neighbour::Foreign;
use crate::platform::{poll_readable, poll_writable};

/// A client of the broker of one data directory. Its connection is kept between calls.
#[derive(Debug)]
pub struct Client {
    config: Config,
    start: StartPolicy,
    token: Option<Box<str>>,
    /// When every call fails, even one that might take longer.
    deadline: Option<Instant>,
    /// Whether a call waits until the rate limit lets it through.
    patient: bool,
    socket: Option<BrokerSocket>,
}

impl Client {
    /// Finds the broker of `config`'s data directory, or starts it, and connects.
    ///
    /// # Errors
    /// No broker, none that can be reached, or none that could be started.
    pub fn open(config: &Config, start: StartPolicy) -> Result<Self, ClientError> {
        let mut client = Self { start, ..Self::of(config) };
        client.call_bytes(&Request::Health)?;
        Ok(client)
    }

    /// A client that starts no broker. Nothing is asked and nothing is looked for before the first
    /// call.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            config: config.clone(),
            start: StartPolicy::Never,
            token: None,
            deadline: None,
            patient: false,
            socket: None,
        }
    }

    /// The same, whose calls fail at `deadline`.
    pub(crate) fn until(config: &Config, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..Self::of(config) }
    }

    /// From now on, a request that exceeds a rate limit is repeated once it is allowed, if that is
    /// before the deadline.
    pub(crate) fn wait_out_rate_limits(&mut self) {
        self.patient = true;
    }

    /// From now on, calls fail at `deadline`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// From now on, acts as the peer whose token this is.
    pub fn use_token(&mut self, token: &str) {
        self.token = Some(token.into());
    }

    /// From now on, acts as whoever has the broker's token.
    pub(crate) fn use_broker_token(&mut self) {
        self.token = None;
    }

    /// From now on, starts a broker or not.
    pub(crate) fn set_start_policy(&mut self, start: StartPolicy) {
        self.start = start;
    }

    /// The broker that was asked last, while the connection to it lasts.
    #[must_use]
    pub fn broker(&self) -> Option<&Broker> {
        self.socket.as_ref().map(|socket| &socket.connection.broker)
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn call<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, ClientError> {
        let body = self.call_bytes(request)?;
        read_reply(&body)
    }

    /// Asks, and gives the answer as it came: JSON.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn call_bytes(&mut self, request: &Request) -> Result<Vec<u8>, ClientError> {
        loop {
            let result = self.call_once(request);
            let Err(ClientError::Refused(refused)) = &result else { return result };
            let again = refused
                .retry_after
                .filter(|_| self.patient && refused.code() == Some(Code::RateLimited));
            let Some(pause) = again else { return result };
            if self.deadline.is_none_or(|deadline| Instant::now() + pause >= deadline) {
                return result;
            }
            std::thread::sleep(pause);
        }
    }

    fn call_once(&mut self, request: &Request) -> Result<Vec<u8>, ClientError> {
        let known = self.live_socket().map(|socket| socket.connection.broker.clone());
        let call = Call::new(request.clone(), self.start, known, Instant::now());
        self.drive(call.with_token(self.token.as_deref()).until(self.deadline))?.into_result()
    }

    fn drive(&mut self, mut call: Call) -> Result<BrokerAnswer, ClientError> {
        loop {
            let now = Instant::now();
            match call.poll(now) {
                Some(CallStep::Locate) => call.handle_located(locate(&self.config), now),
                Some(CallStep::Launch) => {
                    call.handle_launched(launch::start_and_wait(&self.config, call.fails_at()));
                }
                Some(CallStep::Exchange(broker)) => self.exchange(&mut call, &broker),
                Some(CallStep::Done(result)) => {
                    return result.map_err(|error| self.explained(error));
                }
                None => std::thread::sleep(call.deadline().saturating_duration_since(now)),
            }
        }
    }

    /// Names the program that occupies the data directory, if it is another one than ours.
    fn explained(&self, error: ClientError) -> ClientError {
        let is_away = matches!(error, ClientError::NoBroker | ClientError::StartFailed { .. });
        match is_away.then(|| Foreign::find(&self.config)).flatten() {
            Some(foreign) => ClientError::Foreign(foreign),
            None => error,
        }
    }

    /// The kept connection, if it can be used again.
    fn live_socket(&mut self) -> Option<&mut BrokerSocket> {
        self.socket.take_if(|socket| !socket.is_ready());
        self.socket.as_mut()
    }

    fn exchange(&mut self, call: &mut Call, broker: &Broker) {
        self.live_socket();
        let kept = self.socket.take().filter(|socket| socket.connection.leads_to(broker));
        let connect = || {
            let until = call.fails_at();
            BrokerSocket::connect(broker, |address| address.connect_until(until))
        };
        let mut socket = match kept.map_or_else(connect, Ok) {
            Ok(socket) => socket,
            Err(error) => return call.handle_broken(error, false, Instant::now()),
        };
        if socket.exchange(call) {
            self.socket = Some(socket);
        }
    }
}

impl BrokerSocket {
    /// Makes the exchange of `call` and reports the result to it; returns whether it was answered.
    fn exchange(&mut self, call: &mut Call) -> bool {
        if let Err(error) = call.send_on(&mut self.connection, Instant::now()) {
            call.handle_broken(error, false, Instant::now());
            return false;
        }
        let talked = self.talk(call.fails_at());
        let in_doubt = self.connection.is_in_doubt();
        match talked {
            Ok(Some(answer)) => {
                call.handle_answer(answer, Instant::now());
                return true;
            }
            Ok(None) => call.handle_silence(in_doubt),
            Err(error) => call.handle_broken(error, in_doubt, Instant::now()),
        }
        false
    }

    /// Writes and reads until the answer is there; `None` when the time is over.
    fn talk(&mut self, deadline: Instant) -> Result<Option<BrokerAnswer>, ClientError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && self.connection.wants_write() {
                return Ok(None);
            }
            // An answer that has arrived is taken even after the deadline: this process may be a slow
            // one, and what it asked for is done.
            match self.exchange_bytes() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && left.is_zero() => {
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited = if self.connection.wants_write() {
                        poll_writable(&self.stream, Some(left))
                    } else {
                        poll_readable(&self.stream, Some(left))
                    };
                    waited.map_err(|error| self.broken(&error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What it sent before it closed the connection may be the answer.
                Err(error) => match self.connection.poll_answer() {
                    Ok(Some(answer)) => return Ok(Some(answer)),
                    _ => return Err(self.broken(&error)),
                },
            }
            if let Some(answer) = self.connection.poll_answer()? {
                return Ok(Some(answer));
            }
        }
    }

    /// Writes once, or reads once.
    fn exchange_bytes(&mut self) -> io::Result<()> {
        if self.connection.wants_write() {
            return self.connection.write_to(&mut self.stream).map(|_| ());
        }
        match self.connection.read_from(&mut self.stream)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Reads the body of a success; [`ClientError::Protocol`] if it is something else.
pub(crate) fn read_reply<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body)
        .map_err(|error| ClientError::Protocol { reason: error.to_string().into() })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread::JoinHandle;
    use std::time::Duration;

    use super::*;
    use crate::files::tests::TempDir;
    use crate::platform::BrokerLock;

    const HEALTH: &str = r#"{"status":"ok","version":"1.0.0","uptime":1,"mesh":"m"}"#;
    const DENIED: &str = r#"{"ok":false,"error":"no","code":"unauthorized"}"#;

    fn config(temp: &TempDir) -> Config {
        let dir = temp.path().as_os_str();
        let config = Config::from_lookup(|_| None, Some(dir), std::env::current_dir).unwrap();
        std::fs::write(config.paths.mesh_id(), "m").unwrap();
        config
    }

    /// What a broker of the tests does with a request that is not `/health`.
    #[derive(Clone, Copy)]
    enum Reaction {
        BrokerAnswer(u16, &'static str),
        /// Answers, and closes the connection without having said so.
        AnswerAndClose(&'static str),
        Close,
        Silence,
    }

    /// Serves as many requests as there are reactions, and says what it was asked on which
    /// connection.
    fn serve(config: &Config, token: &str, reactions: Vec<Reaction>) -> Receiver<(u32, String)> {
        let listener = listen(config, token);
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut reactions = reactions.into_iter();
            let mut next = reactions.next();
            for number in 0.. {
                if next.is_none() {
                    break;
                }
                let (mut stream, _) = listener.accept().unwrap();
                while let Some(request) = read_request(&mut stream) {
                    if request.starts_with("GET /health") {
                        answer(&mut stream, 200, HEALTH);
                        continue;
                    }
                    sender.send((number, request)).unwrap();
                    let reaction = next.take();
                    next = reactions.next();
                    match reaction {
                        Some(Reaction::BrokerAnswer(status, body)) => {
                            answer(&mut stream, status, body);
                            if next.is_none() {
                                break;
                            }
                        }
                        Some(Reaction::AnswerAndClose(body)) => {
                            answer(&mut stream, 200, body);
                            break;
                        }
                        Some(Reaction::Close) | None => break,
                        Some(Reaction::Silence) => {
                            let _ = stream.read(&mut [0]);
                            break;
                        }
                    }
                }
            }
        });
        receiver
    }

    fn listen(config: &Config, token: &str) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::fs::write(config.paths.token(), token).unwrap();
        std::fs::write(config.paths.port(), port.to_string()).unwrap();
        listener
    }

    fn read_request(stream: &mut TcpStream) -> Option<String> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            bytes.extend(byte);
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).ok()?;
        Some(head + &String::from_utf8(body).unwrap())
    }

    fn answer(stream: &mut TcpStream, status: u16, body: &str) {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).unwrap();
    }

    fn lock(config: &Config) -> BrokerLock {
        BrokerLock::try_acquire(&config.paths.lock()).unwrap().unwrap()
    }

    #[test]
    fn the_connection_is_kept() {
        let temp = TempDir::new();
        let config = config(&temp);
        let _lock = lock(&config);
        let asked = serve(&config, "t", vec![Reaction::BrokerAnswer(200, r#"{"n":1}"#); 3]);
        let mut client = Client::open(&config, StartPolicy::Never).unwrap();
        for _ in 0..3 {
            let body = client.call_bytes(&Request::Status).unwrap();
            assert_eq!(body, br#"{"n":1}"#);
            let (connection, request) = asked.recv().unwrap();
            assert_eq!(connection, 0);
            assert!(request.contains("Authorization: Bearer t\r\n"));
        }
    }

    #[test]
    fn an_answer_that_is_there_is_taken_however_late_it_is() {
        let temp = TempDir::new();
        let config = config(&temp);
        let _lock = lock(&config);
        let asked = serve(&config, "t", vec![Reaction::BrokerAnswer(200, "{}"), Reaction::Silence]);
        let mut client = Client::open(&config, StartPolicy::Never).unwrap();
        let link = client.socket.as_mut().unwrap();
        let over = Instant::now();
        link.connection.send(&Request::Status, None).unwrap();
        assert!(link.talk(over).unwrap().is_none(), "it is not even asked");
        while link.connection.wants_write() {
            link.exchange_bytes().unwrap();
        }
        asked.recv().unwrap();
        assert!(poll_readable(&link.stream, None).unwrap());
        assert_eq!(link.talk(over).unwrap().map(|answer| answer.status), Some(200));
        link.connection.send(&Request::Status, None).unwrap();
        link.exchange_bytes().unwrap();
        assert!(link.talk(over).unwrap().is_none());
    }

    #[test]
    fn a_connection_closed_meanwhile_is_replaced_whatever_is_asked() {
        let temp = TempDir::new();
        let config = config(&temp);
        let _lock = lock(&config);
        let asked = serve(&config, "t", vec![Reaction::AnswerAndClose("{}"); 3]);
        let mut client = Client::open(&config, StartPolicy::Never).unwrap();
        for number in 0..3 {
            client.call_bytes(&Request::Shutdown).unwrap();
            assert_eq!(asked.recv().unwrap().0, number);
            // Until the end of the connection has come through.
            while client.live_socket().is_some() {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_only_where_that_does_no_harm() {
        let temp = TempDir::new();
        let config = config(&temp);
        let _lock = lock(&config);
        let asked = serve(
            &config,
            "t",
            vec![Reaction::Close, Reaction::BrokerAnswer(200, "{}"), Reaction::Close],
        );
        let mut client = Client::open(&config, StartPolicy::Never).unwrap();
        client.call_bytes(&Request::Status).unwrap();
        let lost = client.call_bytes(&Request::Shutdown).unwrap_err();
        assert!(matches!(lost, ClientError::InDoubt { .. }), "{lost:?}");
        assert_eq!(asked.iter().count(), 3);
    }

    #[test]
    fn a_request_that_came_too_soon_is_made_again_by_who_has_time() {
        const SOON: &str = r#"{"ok":false,"error":"x","code":"rate_limited","retryAfterMs":20}"#;
        const LATE: &str = r#"{"ok":false,"error":"x","code":"rate_limited","retryAfterMs":60000}"#;
        let temp = TempDir::new();
        let config = config(&temp);
        let _lock = lock(&config);
        let too_many = |body| Reaction::BrokerAnswer(429, body);
        let reactions = vec![
            too_many(SOON),
            too_many(SOON),
            too_many(SOON),
            Reaction::BrokerAnswer(200, "{}"),
            too_many(LATE),
        ];
        let asked = serve(&config, "t", reactions);
        let mut client = Client::until(&config, Instant::now() + Duration::from_secs(20));
        let limited = Some(Code::RateLimited);
        assert_eq!(client.call_bytes(&Request::Status).unwrap_err().code(), limited);
        client.wait_out_rate_limits();
        assert_eq!(client.call_bytes(&Request::Status).unwrap(), b"{}");
        // Longer than there is time.
        assert_eq!(client.call_bytes(&Request::Status).unwrap_err().code(), limited);
        assert_eq!(asked.iter().count(), 5);
    }

    #[test]
    fn port_and_token_are_read_once_more_after_a_401() {
        let temp = TempDir::new();
        let config = config(&temp);
        let _lock = lock(&config);
        let before = serve(&config, "old", vec![Reaction::BrokerAnswer(401, DENIED)]);
        let mut client = Client::open(&config, StartPolicy::Never).unwrap();
        let after = serve(&config, "new", vec![Reaction::BrokerAnswer(200, "{}")]);
        client.call_bytes(&Request::Shutdown).unwrap();
        assert_eq!(before.iter().count(), 1);
        assert!(after.recv().unwrap().1.contains("Bearer new"));

        // A peer's token is not in those files.
        let denied = serve(&config, "new", vec![Reaction::BrokerAnswer(401, DENIED)]);
        let mut client = Client::open(&config, StartPolicy::Never).unwrap();
        client.use_token("mine");
        assert_eq!(client.call_bytes(&Request::Status).unwrap_err().word(), "unauthorized");
        assert!(denied.recv().unwrap().1.contains("Bearer mine"));
    }

    #[test]
    fn silence_ends_with_the_time_of_a_call() {
        let temp = TempDir::new();
        let config = config(&temp);
        let _lock = lock(&config);
        let _asked = serve(&config, "t", vec![Reaction::Silence]);
        let mut client = Client::open(&config, StartPolicy::Never).unwrap();
        let begun = Instant::now();
        let error = client.call_bytes(&Request::Shutdown).unwrap_err();
        assert!(error.to_string().contains("(within 5 s); it may have been"), "{error}");
        let took = begun.elapsed();
        assert!(took >= crate::limits::CALL_TIME_MAX && took < 2 * crate::limits::CALL_TIME_MAX);
    }

    #[test]
    fn a_broker_that_appears_is_found() {
        let temp = TempDir::new();
        let config = config(&temp);
        assert_eq!(Client::open(&config, StartPolicy::Never).unwrap_err(), ClientError::NoBroker);
        let _lock = lock(&config);
        let late: JoinHandle<_> = {
            let config = config.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                serve(&config, "t", vec![Reaction::BrokerAnswer(200, "{}")])
            })
        };
        let mut client = Client::open(&config, StartPolicy::Never).unwrap();
        client.call_bytes(&Request::Status).unwrap();
        drop(late.join().unwrap());
    }
}
