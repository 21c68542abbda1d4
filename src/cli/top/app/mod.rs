//! The state behind the screen: keys, answers and the time go in; requests come out. It reads no
//! clock and touches nothing.
//!
//! Call [`App::poll`] until it has no more requests, after each `handle_*` and at
//! [`App::deadline`]; draw when [`App::take_dirty`] says so.

mod asks;
mod charts;
mod detail;
mod panes;
mod picture;
mod typing;

#[cfg(test)]
pub(super) mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub(super) use asks::{Line, Purpose};
pub(super) use charts::second;
pub(super) use detail::Paragraph;
pub(super) use panes::{Area, HEIGHT_MIN, Item, Layout, Pane, Place, WIDTH_MIN, layout};
pub(super) use picture::{Marks, MessageRow, Picture, Text};
pub(super) use typing::Typing;

use super::clean::clean;
use crate::api::{
    Code, Events, LockInfo, LockPath, LocksReply, MessageInfo, Messages, PeerInfo, PeersReply,
    Request, Sent, Status,
};
use crate::client::ClientError;
use crate::client::blocking::read_reply;
use crate::model::{Monotonic, Now, Party, Seq, Timestamp};
use asks::{Asks, LOOK_AGAIN, Look, looked};

/// How long a broker that cannot serve now is left alone, when it does not say.
const BUSY: Duration = Duration::from_secs(1);
/// How often a message that is open is looked at, as long as it is not read.
const FULL_EVERY: Duration = Duration::from_secs(2);

/// What the person is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Looking around.
    Normal,
    /// Typing what rows must contain.
    Filter(Typing),
    /// Typing a message.
    Compose(Typing),
    /// Asked whether a lock is to be freed: of this file, held by whoever is called so.
    Confirm { path: LockPath, holder: Party },
    /// Reading all of a row.
    Detail { item: Item, line: usize },
    /// Reading the help.
    Help { line: usize },
}

/// What the shell is to do besides asking and drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    /// Stop as Ctrl-Z stops other programs.
    Suspend,
    /// Draw everything anew.
    Redraw,
}

/// To whom a message that is being typed goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addressee {
    /// As the broker is told.
    pub(super) to: Box<str>,
    /// As the person is told.
    pub(super) name: Box<str>,
    pub(super) reply_to: Option<crate::model::MessageId>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct App {
    pub(super) picture: Picture,
    pub(super) mode: Mode,
    pub(super) focus: Pane,
    pub(super) zoomed: bool,
    /// What rows must contain, in lower case; empty: anything.
    pub(super) filter: String,
    /// The last thing worth saying, and whether it went wrong.
    pub(super) notice: Option<(String, bool)>,
    pub(super) addressee: Option<Addressee>,
    /// The message that is open.
    pub(super) full: Option<MessageInfo>,
    /// Columns and lines.
    pub(super) size: (u16, u16),
    pub(super) now: Now,
    /// The home directory, for `~`.
    pub(super) home: Option<PathBuf>,
    places: [Place; 4],
    asks: Asks,
    full_at: Option<Monotonic>,
    /// When the counts came.
    status_at: Monotonic,
    is_dirty: bool,
    /// When what is drawn looks different, though nothing has come.
    changes_at: Option<Timestamp>,
    wish: Option<Wish>,
    failure: Option<ClientError>,
}

impl App {
    /// Nothing is known yet.
    pub(super) fn new(size: (u16, u16), home: Option<PathBuf>, now: Now) -> Self {
        let mut asks = Asks::default();
        asks.refresh_all(now.mono);
        Self {
            picture: Picture::default(),
            mode: Mode::Normal,
            focus: Pane::Messages,
            zoomed: false,
            filter: String::new(),
            notice: None,
            addressee: None,
            full: None,
            size,
            now,
            home,
            places: Default::default(),
            asks,
            full_at: None,
            status_at: now.mono,
            is_dirty: true,
            changes_at: None,
            wish: None,
            failure: None,
        }
    }

    /// Whether there is a broker that answers.
    pub(super) fn is_live(&self) -> bool {
        self.asks.is_live
    }

    /// How long the broker has been running, seconds, when its counts are known.
    pub(super) fn uptime(&self) -> Option<u64> {
        let status = self.picture.status.as_ref()?;
        Some(status.uptime.saturating_add(self.now.mono.since(self.status_at).as_secs()))
    }

    pub(super) fn is_paused(&self) -> bool {
        self.picture.frozen_at.is_some()
    }

    /// The terminal has another size.
    pub(super) fn handle_resize(&mut self, size: (u16, u16)) {
        self.is_dirty |= self.size != size;
        self.size = size;
    }

    /// It is later.
    pub(super) fn handle_time(&mut self, now: Now) {
        // Not when it is overdue, but when it is reached: the clock may have been set back, too.
        let changed = self.changes_at.is_some_and(|at| now.wall >= at || now.wall < self.now.wall);
        self.now = now;
        if changed {
            self.is_dirty = true;
            self.changes_at = None;
        }
        if self.full_at.is_some_and(|at| at <= now.mono) {
            self.full_at = None;
            self.ask_full();
        }
    }

    /// Whether there is something new to draw; from now on there is not.
    pub(super) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.is_dirty)
    }

    /// What was drawn looks different from this time on.
    pub(super) fn drawn_until(&mut self, at: Option<Timestamp>) {
        self.changes_at = at;
    }

    /// What the shell is to do, told once.
    pub(super) fn take_wish(&mut self) -> Option<Wish> {
        self.wish.take()
    }

    /// Why it cannot go on, if so.
    pub(super) fn take_failure(&mut self) -> Option<ClientError> {
        self.failure.take()
    }

    /// How long nothing has to be done.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let look_at = self.asks.next_look_at(&self.picture, &self.visible_messages());
        let asks = self.asks.deadline(look_at);
        let full_at = self.full_at.filter(|_| self.asks.is_live);
        let asks = asks.into_iter().chain(full_at).min();
        let asks = asks.map(|at| at.since(self.now.mono));
        let ms = self.changes_at.map(|at| at.0.saturating_sub(self.now.wall.0).max(0));
        let draws = ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        asks.into_iter().chain(draws).min()
    }

    /// The next request.
    pub(super) fn poll(&mut self) -> Option<(Line, Purpose, Request)> {
        let visible = self.visible_messages();
        self.asks.poll(&self.picture, || visible, self.now.mono)
    }

    /// A request has a result.
    pub(super) fn handle_result(&mut self, purpose: Purpose, result: Result<Vec<u8>, ClientError>) {
        self.is_dirty = true;
        let result = result.and_then(|body| self.take_answer(&purpose, &body));
        let Err(error) = result else { return };
        let line = if purpose == Purpose::Events { Line::Events } else { Line::Queries };
        self.asks.has_failed(line);
        self.take_error(purpose, error);
    }

    fn take_answer(&mut self, purpose: &Purpose, body: &[u8]) -> Result<(), ClientError> {
        if *purpose != Purpose::Events {
            self.asks.has_asked();
        }
        match purpose {
            Purpose::Events => self.take_events(&read_reply(body)?),
            Purpose::Peers => {
                let reply: PeersReply = read_reply(body)?;
                for peer in &reply.peers {
                    self.asks.gone.remove(&peer.id);
                }
                self.picture.set_peers(reply.peers);
            }
            Purpose::Locks => {
                let reply: LocksReply = read_reply(body)?;
                self.picture.locks = reply.locks;
            }
            Purpose::Status => {
                self.picture.status = Some(read_reply::<Status>(body)?);
                self.status_at = self.now.mono;
            }
            Purpose::Texts(look) => {
                let reply: Messages = read_reply(body)?;
                self.take_texts(look, &reply);
            }
            Purpose::Full(look) => {
                let reply: Messages = read_reply(body)?;
                self.take_texts(look, &reply);
                let found = reply.messages.into_iter().find(|message| message.seq == look.first);
                self.take_full(look, found);
            }
            Purpose::Send(name) => {
                let sent: Sent = read_reply(body)?;
                self.say(&sent_text(&sent, name));
                self.asks.status.want(self.now.mono);
            }
            Purpose::Unlock(path) => {
                self.say(&format!("Released {}.", clean(path, 300)));
                self.asks.locks.want(self.now.mono);
            }
        }
        Ok(())
    }

    fn take_events(&mut self, reply: &Events) {
        let now = self.now.mono;
        if !std::mem::replace(&mut self.asks.is_live, true) {
            self.asks.refresh_all(now);
        }
        let missed = self.asks.cursor.is_some_and(|cursor| cursor.next() < reply.first_seq);
        let behind = self.asks.has_read(reply.events.len());
        // The newest again: those from before the jump are known already.
        let known = [
            self.picture.messages.back().map(|row| row.seq),
            self.picture.events.back().map(|row| row.seq),
        ];
        let known = known.into_iter().flatten().max();
        for event in reply.events.iter().filter(|event| Some(event.seq) > known) {
            let news = self.picture.take_event(event, self.home.as_deref(), now);
            if let Some(id) = news.came {
                self.asks.gone.remove(&id);
            }
            if news.peers {
                self.asks.peers.want(now);
            }
            if news.locks {
                self.asks.locks.want(now);
                self.asks.peers.want(now);
            }
            if news.messages || news.locks || news.peers {
                self.asks.status.want(now);
            }
            if news.messages && self.full.is_some() {
                self.full_at = Some(self.full_at.map_or(now, |at| at.min(now.plus(BUSY))));
            }
        }
        self.asks.cursor = Some(reply.last_seq);
        if behind {
            self.asks.cursor = None;
        }
        if behind || missed {
            self.complain("More happens than can be followed: some of it was skipped.");
        }
    }

    fn take_texts(&mut self, look: &Look, reply: &Messages) {
        for message in &reply.messages {
            self.picture.take_listed(message, look.inbox.is_none());
        }
        let now = self.now.mono;
        // Those that a whole answer does not have are kept no longer, or nobody has them.
        let whole = reply.remaining == 0;
        let listed: Vec<Seq> = reply.messages.iter().map(|message| message.seq).collect();
        let asked = self.picture.messages.iter_mut().filter(|row| {
            (look.first..=look.last).contains(&row.seq)
                && row.from == look.sender
                && (look.inbox.is_none() || row.to == look.inbox)
        });
        for row in asked {
            looked(row, now);
            if whole && !listed.contains(&row.seq) {
                row.text = Text::Gone;
            }
        }
    }

    fn take_full(&mut self, look: &Look, found: Option<MessageInfo>) {
        if !matches!(&self.mode, Mode::Detail { item: Item::Message(seq), .. } if *seq == look.first)
        {
            return;
        }
        let open = found
            .as_ref()
            .is_some_and(|message| !picture::marks(message, look.inbox.is_none()).is_final());
        self.full_at = open.then(|| self.now.mono.plus(FULL_EVERY));
        self.full = found;
    }

    fn take_error(&mut self, purpose: Purpose, error: ClientError) {
        let now = self.now.mono;
        if let ClientError::Refused(refused) = &error
            && let Some(Code::RateLimited | Code::Unavailable) = error.code()
        {
            self.asks.be_quiet(now.plus(refused.retry_after.unwrap_or(BUSY)));
        } else if is_absence(&error) {
            self.asks.is_live = false;
            self.asks.be_quiet(now.plus(LOOK_AGAIN));
        }
        let later = now.plus(BUSY);
        match purpose {
            Purpose::Peers => self.asks.peers.want(later),
            Purpose::Locks => self.asks.locks.want(later),
            Purpose::Status => self.asks.status.want(later),
            _ => {}
        }
        match (purpose, error.code()) {
            // The database is another than before, and has not come so far yet.
            (Purpose::Events, Some(Code::InvalidRequest)) if self.asks.cursor.is_some() => {
                self.asks.cursor = None;
                self.asks.refresh_all(now);
                self.picture.begin_anew();
                self.complain("The broker has begun anew; what was before is gone.");
            }
            (Purpose::Texts(look) | Purpose::Full(look), Some(Code::PeerNotFound)) => {
                self.take_absence(&look);
            }
            (Purpose::Send(_) | Purpose::Unlock(_), _) => {
                self.asks.locks.want(now);
                self.complain(&error.to_string());
            }
            (_, Some(Code::RateLimited | Code::Unavailable)) => {}
            (_, None) if is_absence(&error) => {}
            (Purpose::Events, _) => self.failure = Some(error),
            (_, _) => self.complain(&error.to_string()),
        }
    }

    /// The one in whose list it was looked has gone.
    fn take_absence(&mut self, look: &Look) {
        let now = self.now.mono;
        let first = look.inbox.is_none();
        if let (Some(id), true) = (look.sender.peer(), first) {
            self.asks.gone.insert(id);
        }
        let rows = self.picture.messages.iter_mut();
        for row in rows.filter(|row| row.from == look.sender && row.text == Text::Unknown) {
            row.look_at = now;
            let nobody = if first { row.to.is_none() } else { row.to == look.inbox };
            if nobody {
                row.text = Text::Gone;
            }
        }
        if matches!(self.mode, Mode::Detail { .. }) && first {
            self.ask_full();
        }
    }

    /// Asks for all of the message that is open.
    fn ask_full(&mut self) {
        let Mode::Detail { item: Item::Message(seq), .. } = self.mode else { return };
        let Some(row) = self.picture.message(seq) else { return };
        if row.text == Text::Gone {
            return;
        }
        let ask = self.asks.look_at(row);
        self.asks.urgent.retain(|(purpose, _)| !matches!(purpose, Purpose::Full(_)));
        self.asks.urgent.push_back(ask);
    }

    fn say(&mut self, text: &str) {
        self.notice = Some((clean(text, 400), false));
    }

    fn complain(&mut self, text: &str) {
        self.notice = Some((clean(text, 400), true));
    }

    // --- What is shown ------------------------------------------------------------------------

    /// Who gets which part of the screen; none: it is too small.
    pub(super) fn layout(&self) -> Option<Layout> {
        let rows = (self.picture.peers.len(), self.picture.locks.len());
        layout(self.size, self.focus, self.zoomed, rows)
    }

    /// The rows of a pane, in their order, as places in the list of the picture.
    pub(super) fn rows(&self, pane: Pane) -> Vec<usize> {
        let picture = &self.picture;
        let shown = |seq: Seq| picture.frozen_at.is_none_or(|at| seq <= at);
        match pane {
            Pane::Peers => self.chosen(picture.peers.iter().map(Self::peer_words)),
            Pane::Locks => self.chosen(picture.locks.iter().map(Self::lock_words)),
            Pane::Messages => {
                let count = picture.messages.partition_point(|row| shown(row.seq));
                let rows = picture.messages.iter().take(count);
                let mut rows = self.chosen(rows.map(|row| self.message_words(row)));
                rows.reverse();
                rows
            }
            Pane::Events => {
                let count = picture.events.partition_point(|row| shown(row.seq));
                let rows = picture.events.iter().take(count);
                let words = rows.map(|row| move || format!("{} {}", row.kind, row.text));
                let mut rows = self.chosen(words);
                rows.reverse();
                rows
            }
        }
    }

    /// The places of those whose words contain the filter.
    fn chosen(&self, words: impl Iterator<Item = impl Fn() -> String>) -> Vec<usize> {
        let is_chosen = |words: &dyn Fn() -> String| {
            self.filter.is_empty() || words().to_lowercase().contains(&self.filter)
        };
        words.enumerate().filter(|(_, words)| is_chosen(words)).map(|(at, _)| at).collect()
    }

    fn peer_words(peer: &PeerInfo) -> impl Fn() -> String {
        let text = |text: &Option<Box<str>>| text.clone().unwrap_or_default();
        move || {
            let (branch, summary) = (text(&peer.git_branch), text(&peer.summary));
            let (name, agent, reach) = (&peer.name, &peer.agent_type, &peer.reach);
            let host = peer.host.map(|host| host.to_string()).unwrap_or_default();
            format!("{name} {host} {agent} {reach} {branch} {} {summary}", peer.project_path)
        }
    }

    fn lock_words(lock: &LockInfo) -> impl Fn() -> String {
        move || {
            let reason = lock.reason.as_deref().unwrap_or_default();
            format!("{} {} {reason}", lock.file_path, lock.locked_by_name)
        }
    }

    fn message_words(&self, row: &MessageRow) -> impl Fn() -> String {
        move || {
            let to = row.to.as_ref().map_or_else(|| "all".into(), |to| self.picture.name(to));
            let text = if let Text::Known(text, _) = &row.text { text } else { "" };
            format!("{} {to} {text}", self.picture.name(&row.from))
        }
    }

    /// What a row of a pane stands for.
    pub(super) fn item(&self, pane: Pane, at: usize) -> Option<Item> {
        let picture = &self.picture;
        Some(match pane {
            Pane::Peers => Item::Peer(picture.peers.get(at)?.id),
            Pane::Messages => Item::Message(picture.messages.get(at)?.seq),
            Pane::Locks => Item::Lock(picture.locks.get(at)?.fence),
            Pane::Events => Item::Event(picture.events.get(at)?.seq),
        })
    }

    /// Which of `rows` is selected, if one is, and which is the first one shown.
    pub(super) fn window(
        &self,
        pane: Pane,
        rows: &[usize],
        height: usize,
    ) -> (Option<usize>, usize) {
        let Some(place) = self.places.get(pane.index()) else { return (None, 0) };
        let Some(selected) = &place.selected else { return (None, 0) };
        let found = rows.iter().position(|at| self.item(pane, *at).as_ref() == Some(selected));
        // What was selected may have gone: then the one that has taken its place.
        let Some(last) = rows.len().checked_sub(1) else { return (None, 0) };
        let index = found.unwrap_or(place.index.min(last));
        (Some(index), place.first(index, rows.len(), height))
    }

    /// The numbers of the messages on the screen, the newest first.
    fn visible_messages(&self) -> Vec<Seq> {
        let Some(layout) = self.layout() else { return Vec::new() };
        let area = layout.panes.iter().find(|(pane, _)| *pane == Pane::Messages);
        let Some((_, area)) = area else { return Vec::new() };
        let rows = self.rows(Pane::Messages);
        let (_, first) = self.window(Pane::Messages, &rows, area.rows());
        let shown = rows.iter().skip(first).take(area.rows());
        shown.filter_map(|at| self.picture.messages.get(*at)).map(|row| row.seq).collect()
    }
}

/// Whether the broker is not there, or not to be reached.
fn is_absence(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::NoBroker
            | ClientError::Unreachable { .. }
            | ClientError::TimedOut { .. }
            | ClientError::InDoubt { .. }
            | ClientError::NotOurs { .. }
    )
}

fn sent_text(sent: &Sent, name: &str) -> String {
    match sent {
        Sent::Direct { damped: Some(_), .. } => {
            format!("Stored for {name}, who is told of it later: it was woken too often.")
        }
        Sent::Direct { delivered: true, .. } => format!("Delivered to {name}."),
        Sent::Direct { pushed: true, .. } => format!("Handed to {name}."),
        Sent::Direct { .. } => {
            format!("Stored for {name}, who is not connected now and will find it.")
        }
        Sent::Broadcast { recipients: 0, .. } => "Nobody is here; nothing was sent.".into(),
        Sent::Broadcast { recipients, pushed, .. } => {
            format!("Sent to {recipients} peers; {pushed} are connected now.")
        }
    }
}
