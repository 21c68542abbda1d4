//! A machine: its relay's uplink, the sockets of its sessions, and what their clients ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};
use slm_mesh::api::{Frame, read_frame};
use slm_mesh::broker::links::News;
use slm_mesh::broker::uplink::{Answered, Asked, Output, Uplink};
use slm_mesh::mesh::Lost;
use slm_mesh::model::{MessageId, Now, PeerId, Seq};

use crate::hub::Known;
use crate::rng::Rng;

/// What a client has asked.
#[derive(Clone, Debug)]
enum Question {
    Register,
    Send(PeerId),
    Lock(String),
    Unlock(String),
    Heartbeat,
}

/// The socket of a session, with a connection to it.
#[derive(Debug, Default)]
struct Socket {
    announced: bool,
    frames: VecDeque<String>,
}

/// A session with its one client.
#[derive(Debug, Default)]
struct Session {
    path: String,
    dead: bool,
    registered: Option<(PeerId, String, String)>,
    socket: Option<Socket>,
    /// Its process is watched.
    watched: bool,
    /// What it has read, and what it has acknowledged.
    read: BTreeSet<MessageId>,
    acked: BTreeSet<MessageId>,
    /// Its connection, and what is asked on it.
    asker: u32,
    asked: Option<Question>,
    /// Locks that it was told it has.
    holds: BTreeSet<String>,
    heartbeat: u64,
}

impl Session {
    fn peer(&self) -> Option<PeerId> {
        self.registered.as_ref().map(|(peer, ..)| *peer)
    }
}

pub(crate) struct Machine {
    number: usize,
    pub(crate) uplink: Uplink<u32>,
    sessions: Vec<Session>,
    /// To which sockets there should be ways.
    wanted: BTreeMap<PeerId, String>,
    news: Vec<News>,
    askers: u32,
    pub(crate) dialling: bool,
    pub(crate) hang_up: bool,
    pub(crate) pinged: bool,
    pub(crate) met: BTreeSet<&'static str>,
}

impl Machine {
    pub(crate) fn new(number: usize, now: Now) -> Self {
        let mut uplink = Uplink::new("machine", now.mono);
        uplink.want(true, now.mono);
        Self {
            number,
            uplink,
            sessions: Vec::new(),
            wanted: BTreeMap::new(),
            news: Vec::new(),
            askers: 0,
            dialling: false,
            hang_up: false,
            pinged: false,
            met: BTreeSet::new(),
        }
    }

    fn new_asker(&mut self) -> u32 {
        self.askers += 1;
        self.askers
    }

    // What is seen in the end

    pub(crate) fn alive(&self) -> Vec<PeerId> {
        self.sessions.iter().filter(|it| !it.dead).filter_map(Session::peer).collect()
    }

    /// Whether a session that lives has read this.
    pub(crate) fn has_read(&self, peer: PeerId, message: MessageId) -> Option<bool> {
        let mut its = self.sessions.iter().filter(|it| it.peer() == Some(peer) && !it.dead);
        its.next().map(|session| session.acked.contains(&message))
    }

    pub(crate) fn held(&self) -> Vec<(String, PeerId)> {
        let alive = self.sessions.iter().filter(|it| !it.dead);
        alive
            .flat_map(|it| it.holds.iter().map(|path| (path.clone(), it.peer().unwrap())))
            .collect()
    }

    pub(crate) fn check_names(&self, names: &BTreeMap<PeerId, String>) {
        for session in self.sessions.iter().filter(|it| !it.dead) {
            let Some((peer, _, name)) = &session.registered else { continue };
            assert_eq!(names.get(peer), Some(name));
        }
    }

    // What happens

    /// A client asks for something.
    pub(crate) fn ask(&mut self, rng: &mut Rng, peers: &BTreeMap<PeerId, Known>, now: Now) {
        if self.sessions.len() < 3 || rng.chance(3) {
            let path = format!("/run/{}-{}.sock", self.number, self.sessions.len());
            self.sessions.push(Session { path, ..Session::default() });
        }
        let at = rng.below(self.sessions.len());
        let all: Vec<PeerId> = peers.keys().copied().collect();
        let session = &self.sessions[at];
        if session.dead || session.asked.is_some() {
            return;
        }
        let path = format!("/w/{}", rng.below(3));
        let question = match rng.below(5) {
            _ if session.registered.is_none() => Question::Register,
            0 | 1 => match rng.pick(&all) {
                Some(to) => Question::Send(*to),
                None => return,
            },
            2 => Question::Lock(path),
            3 => match session.holds.first() {
                Some(path) => Question::Unlock(path.clone()),
                None => Question::Lock(path),
            },
            _ => Question::Heartbeat,
        };
        self.put(at, question, now);
    }

    fn put(&mut self, at: usize, question: Question, now: Now) {
        if self.sessions[at].asker == 0 {
            self.sessions[at].asker = self.new_asker();
        }
        let session = &mut self.sessions[at];
        let (path, body) = match &question {
            Question::Register => (
                "/register",
                json!({"pid": 7, "projectPath": "/w", "udsPath": session.path, "acks": true}),
            ),
            Question::Send(to) => ("/send", json!({"toPeer": to, "payload": "text"})),
            Question::Lock(path) => {
                ("/lock", json!({"action": "lock", "filePath": path, "wait": 10}))
            }
            Question::Unlock(path) => ("/lock", json!({"action": "unlock", "filePath": path})),
            Question::Heartbeat => ("/heartbeat", json!({})),
        };
        let body = body.to_string();
        let token = session.registered.as_ref().map(|(_, token, _)| token.as_str());
        let (body, method) = (body.as_bytes(), "POST");
        let asked = Asked { token, method, path, body, agent_start: None, has_gone: false };
        if let Question::Unlock(path) = &question {
            // Whatever comes of it, it does not count on the lock any more.
            session.holds.remove(path);
        }
        match self.uplink.ask(session.asker, asked, now.mono) {
            Ok(()) => session.asked = Some(question),
            Err(refusal) => {
                assert_eq!(refusal.code.as_str(), "hub_unreachable", "{refusal:?}");
                self.met.insert("refused");
            }
        }
    }

    /// Sessions read from their sockets.
    pub(crate) fn read(&mut self, rng: &mut Rng) {
        let count = 1 + rng.below(4);
        for session in &mut self.sessions {
            // Now and then the way breaks before what was read is acknowledged.
            let acks = !rng.chance(10);
            Self::read_of(session, count, acks, &mut self.news, &mut self.met);
            if !acks {
                Self::break_way(session, &mut self.news);
            }
        }
    }

    pub(crate) fn read_all(&mut self) {
        for session in &mut self.sessions {
            Self::read_of(session, usize::MAX, true, &mut self.news, &mut self.met);
        }
    }

    fn read_of(
        session: &mut Session,
        count: usize,
        acks: bool,
        news: &mut Vec<News>,
        met: &mut BTreeSet<&'static str>,
    ) {
        let Some(peer) = session.peer() else { return };
        let Some(socket) = &mut session.socket else { return };
        let frames: Vec<String> = socket.frames.drain(..count.min(socket.frames.len())).collect();
        for frame in frames {
            let Ok(Frame::Message(message)) = read_frame(frame.as_bytes()) else { continue };
            let id = message.message_id;
            assert!(!session.acked.contains(&id), "{id} was acknowledged, and is told again");
            if !session.read.insert(id) {
                met.insert("again");
            }
            if acks {
                session.acked.insert(id);
                news.push(News::Acknowledged(peer, id));
            }
        }
    }

    fn break_way(session: &mut Session, news: &mut Vec<News>) {
        if session.socket.take().is_some() {
            news.extend(session.peer().map(News::Down));
        }
    }

    /// The way to a session breaks, or stands again.
    pub(crate) fn flap(&mut self, rng: &mut Rng) {
        let Some(session) = rng.pick(&(0..self.sessions.len()).collect::<Vec<_>>()).copied() else {
            return;
        };
        if rng.chance(30) {
            Self::break_way(&mut self.sessions[session], &mut self.news);
        } else {
            self.retry_all();
        }
    }

    /// Connects to all sockets that it should, of sessions that know which peer they are.
    pub(crate) fn retry_all(&mut self) {
        for session in self.sessions.iter_mut().filter(|it| !it.dead && it.socket.is_none()) {
            let Some(peer) = session.peer() else { continue };
            if self.wanted.get(&peer) == Some(&session.path) {
                session.socket = Some(Socket::default());
                session.watched = true;
                self.news.push(News::Up(peer, true));
            }
        }
    }

    /// A session is killed, with its client.
    pub(crate) fn kill(&mut self, rng: &mut Rng, now: Now) {
        let at = rng.below(self.sessions.len());
        let Some(session) = self.sessions.get_mut(at).filter(|it| !it.dead) else { return };
        Self::break_way(session, &mut self.news);
        session.dead = true;
        session.holds.clear();
        self.met.insert("killed");
        if session.watched {
            self.news.extend(session.peer().map(News::Ended));
        }
        self.end_client(at, now);
    }

    fn end_client(&mut self, at: usize, _: Now) {
        let session = &mut self.sessions[at];
        session.asked = None;
        let asker = std::mem::take(&mut session.asker);
        if asker != 0 {
            self.uplink.closed(asker, |_| None);
        }
    }

    /// A client hangs up while it waits, and its session lives.
    pub(crate) fn leave(&mut self, rng: &mut Rng, now: Now) {
        let at = rng.below(self.sessions.len());
        if self.sessions.get(at).is_some_and(|it| it.asked.is_some() && !it.dead) {
            if rng.chance(50) {
                self.uplink.hung_up(self.sessions[at].asker);
            } else {
                self.end_client(at, now);
            }
        }
    }

    // The shell around the uplink

    pub(crate) fn work(&mut self, rng: &mut Rng, now: Now, sent: &mut BTreeMap<MessageId, PeerId>) {
        self.uplink.tick(now.mono);
        self.beat(now);
        for news in std::mem::take(&mut self.news) {
            self.uplink.hear(news);
        }
        let announced = self.uplink.take_announced();
        let effects = self.uplink.take_effects();
        for session in &mut self.sessions {
            if let (Some(peer), Some(socket)) = (session.peer(), &mut session.socket)
                && announced.contains(&peer)
            {
                socket.announced = true;
            }
        }
        for push in effects.pushes {
            let slm_mesh::mesh::PushTarget::One(to) = push.to else { panic!("to one") };
            let its = self.sessions.iter_mut().filter(|it| it.peer() == Some(to));
            for socket in its.filter_map(|it| it.socket.as_mut()).filter(|it| it.announced) {
                socket.frames.push_back(push.frame.json().to_owned());
                let seq: Option<Seq> = push.frame.message();
                self.news.extend(seq.map(|seq| News::Written(to, seq)));
            }
        }
        let gone = effects.departed.iter().map(|departed| departed.peer);
        for peer in gone.chain(effects.disconnect) {
            self.wanted.remove(&peer);
            for session in self.sessions.iter_mut().filter(|it| it.peer() == Some(peer)) {
                Self::break_way(session, &mut self.news);
                session.watched = false;
            }
            self.news.push(News::Process(peer, false));
        }
        for (peer, path) in effects.connect {
            self.wanted.insert(peer, path.into());
        }
        if rng.chance(80) {
            self.retry_all();
        }
        while let Some(output) = self.uplink.next_output() {
            match output {
                Output::Answer(to, answered) => self.answered(rng, to, &answered, sent),
                Output::Drop(to) => {
                    self.met.insert("in doubt");
                    let session = self.session_of(to);
                    assert!(session.asked.take().is_some(), "it was answered before");
                    session.asker = 0;
                    self.uplink.closed(to, |_| None);
                }
                Output::Dial => self.dialling = true,
                Output::HangUp(words) => {
                    let expected = ["nothing was heard", "does not answer"];
                    assert!(expected.iter().any(|it| words.contains(it)), "{words}");
                    self.hang_up = true;
                }
                Output::Ping => self.pinged = true,
                Output::Look(look) => panic!("{look:?}"),
            }
        }
    }

    fn beat(&mut self, now: Now) {
        let second = now.mono.0.as_secs();
        for at in 0..self.sessions.len() {
            let session = &mut self.sessions[at];
            let free = !session.dead && session.asked.is_none() && session.registered.is_some();
            if free && second >= session.heartbeat + 5 {
                session.heartbeat = second;
                self.put(at, Question::Heartbeat, now);
            }
        }
    }

    fn session_of(&mut self, asker: u32) -> &mut Session {
        self.sessions.iter_mut().find(|it| it.asker == asker).expect("its client is there")
    }

    fn answered(
        &mut self,
        rng: &mut Rng,
        to: u32,
        answered: &Answered,
        sent: &mut BTreeMap<MessageId, PeerId>,
    ) {
        let lost = rng.chance(10);
        let session = self.session_of(to);
        let question = session.asked.take().expect("it is answered once");
        if answered.status != 200 {
            let refused = [403, 404, 409, 503].contains(&answered.status);
            assert!(refused, "{question:?}: {answered:?}");
            return;
        }
        let body: Value = serde_json::from_str(&answered.body).unwrap();
        let id = |value: &Value| MessageId::parse(value.as_str().unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match question {
            Question::Register => {
                let peer = PeerId::parse(body["peerId"].as_str().unwrap()).unwrap();
                session.registered = Some((peer, text(&body["peerToken"]), text(&body["name"])));
            }
            Question::Send(peer) => _ = sent.insert(id(&body["messageId"]), peer),
            Question::Lock(_) if lost => {
                session.asker = 0;
                self.uplink.closed(to, |_| Some(Lost::Unwritten));
                return;
            }
            Question::Lock(path) => _ = session.holds.insert(path),
            Question::Unlock(_) | Question::Heartbeat => {}
        }
        self.met.insert("answered");
    }
}
