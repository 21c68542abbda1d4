//! The state behind the screen: keys, answers and the time go in; requests come out. It reads no
//! clock and touches nothing.
//!
//! Call [`App::poll`] until it has no more requests, after each `handle_*` and at
//! [`App::deadline`]; draw when it is dirty.

use std::path::PathBuf;
use std::time::Duration;

use super::asks::{Addressee, Asks, MessageSpan, Purpose};
use super::clean::clean;
use super::panes::{Layout, Pane, RowId, Selection, layout, rows_in};
use super::picture::{MessageRow, Picture, is_final};
use crate::api::{
    Code, Events, HistoryPage, LockInfo, LockPath, LocksReply, MessageInfo, PeerInfo, PeersReply,
    Request, Sent, Status,
};
use crate::cli::send::fate;
use crate::cli::text::short_path;
use crate::client::ClientError;
use crate::client::blocking::read_reply;
use crate::model::{Monotonic, Now, Party, Seq, Timestamp};

/// How long a broker that has gone, or cannot serve now and does not say, is left alone.
const LATER: Duration = Duration::from_secs(1);
/// Doublings of the pause between two looks at one message, and at one that is open.
const LOOKS_MAX: u32 = 6;
const OPEN_LOOKS_MAX: u32 = 1;

/// What the person is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Looking around.
    Normal,
    /// Typing what rows must contain.
    Filter(String),
    /// Typing a message.
    Compose { to: Addressee, text: String },
    /// Asked whether a lock is to be freed: of this file, held by whoever is called so.
    Confirm { path: LockPath, holder: Party },
    /// Reading all of a row, or the help.
    Read { item: Option<RowId>, line: usize },
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
    /// The message that is open, in full.
    pub(super) full: Option<MessageInfo>,
    /// Columns and lines.
    pub(super) size: (u16, u16),
    pub(super) now: Now,
    /// The home directory, for `~`.
    pub(super) home: Option<PathBuf>,
    pub(super) selections: [Selection; 4],
    pub(super) asks: Asks,
    /// When the counts came.
    status_at: Monotonic,
    /// There is something new to draw.
    pub(super) is_dirty: bool,
    /// When what is drawn looks different, though nothing has come.
    pub(super) changes_at: Option<Timestamp>,
    /// What the shell is to do.
    pub(super) wish: Option<Wish>,
    /// Why it cannot go on, if so.
    pub(super) failure: Option<ClientError>,
}

impl App {
    /// Nothing is known yet.
    pub(super) fn new(size: (u16, u16), home: Option<PathBuf>, now: Now) -> Self {
        let mut asks = Asks::default();
        asks.want_all(now.mono);
        Self {
            picture: Picture::default(),
            mode: Mode::Normal,
            focus: Pane::Messages,
            zoomed: false,
            filter: String::new(),
            notice: None,
            full: None,
            size,
            now,
            home,
            selections: Default::default(),
            asks,
            status_at: now.mono,
            is_dirty: true,
            changes_at: None,
            wish: None,
            failure: None,
        }
    }

    /// How long the broker has been running, seconds, when its counts are known.
    pub(super) fn uptime(&self) -> Option<u64> {
        let status = self.picture.status.as_ref()?;
        Some(status.uptime.saturating_add(self.now.mono.since(self.status_at).as_secs()))
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
    }

    /// How long nothing has to be done.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let asks = self.asks.deadline(self.next_look()).map(|at| at.since(self.now.mono));
        let ms = self.changes_at.map(|at| at.0.saturating_sub(self.now.wall.0));
        let draws = ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        asks.into_iter().chain(draws).min()
    }

    /// The next request.
    pub(super) fn poll(&mut self) -> Option<(Purpose, Request)> {
        let look = self.next_look();
        self.asks.poll(look, self.now.mono)
    }

    // --- Answers ------------------------------------------------------------------------------

    /// A request has a result.
    pub(super) fn handle_result(
        &mut self,
        purpose: &Purpose,
        result: Result<Vec<u8>, ClientError>,
    ) {
        self.is_dirty = true;
        self.asks.has_ended(purpose);
        if let Err(error) = result.and_then(|body| self.take_answer(purpose, &body)) {
            self.take_error(purpose, error);
        }
    }

    fn take_answer(&mut self, purpose: &Purpose, body: &[u8]) -> Result<(), ClientError> {
        match purpose {
            Purpose::Events => self.take_events(&read_reply(body)?),
            Purpose::Peers => self.picture.set_peers(read_reply::<PeersReply>(body)?.peers),
            Purpose::Locks => self.picture.locks = read_reply::<LocksReply>(body)?.locks,
            Purpose::Status => {
                self.picture.status = Some(read_reply::<Status>(body)?);
                self.status_at = self.now.mono;
            }
            Purpose::Messages(look) => self.take_messages(*look, read_reply(body)?),
            Purpose::Send(addressee) => {
                let text = self.sent_text(&read_reply(body)?, addressee);
                self.say(&text);
                self.asks.want(&Purpose::Status, self.now.mono);
            }
            Purpose::Unlock(path) => {
                self.say(&format!("Released {}.", clean(path, 300)));
                self.asks.want(&Purpose::Locks, self.now.mono);
            }
        }
        Ok(())
    }

    fn take_events(&mut self, reply: &Events) {
        let now = self.now.mono;
        if !std::mem::replace(&mut self.asks.is_live, true) {
            self.asks.want_all(now);
        }
        let missed = self.asks.cursor.is_some_and(|cursor| cursor.next() < reply.first_seq);
        let behind = self.asks.has_read(reply.events.len());
        // The newest again: those from before the jump are known already.
        let known = self.picture.newest();
        for event in reply.events.iter().filter(|event| Some(event.seq) > known) {
            for changed in self.picture.take_event(event, self.home.as_deref(), now) {
                self.asks.want(changed, now);
            }
        }
        self.asks.cursor = Some(reply.last_seq).filter(|_| !behind);
        if behind || missed {
            self.complain("More happens than can be followed: some of it was skipped.");
        }
    }

    fn take_messages(&mut self, look: MessageSpan, page: HistoryPage) {
        for message in &page.messages {
            self.picture.take_listed(message);
        }
        let open = self.open_message();
        let last = page.next.unwrap_or(look.last).min(look.last);
        let now = self.now.mono;
        let listed: Vec<Seq> = page.messages.iter().map(|message| message.seq).collect();
        let asked = self.picture.messages.iter_mut();
        for row in asked.filter(|row| (look.first..=last).contains(&row.seq)) {
            let looks_max = if open == Some(row.seq) { OPEN_LOOKS_MAX } else { LOOKS_MAX };
            row.look_at = now.plus(LATER * 2_u32.pow(row.looks.min(looks_max)));
            row.looks = row.looks.saturating_add(1);
            // What is not listed is kept no longer, or not ours to read.
            row.is_gone |= !listed.contains(&row.seq);
        }
        if let Some(found) = page.messages.into_iter().find(|message| open == Some(message.seq)) {
            self.full = Some(found);
        }
    }

    fn sent_text(&self, sent: &Sent, Addressee { to, name, .. }: &Addressee) -> String {
        let peer = self.picture.peers.iter().find(|peer| peer.id.to_string() == **to);
        let fate = peer.map_or_else(|| ".".into(), |peer| fate(peer, self.now.wall));
        let text = match sent {
            Sent::Direct { pushed: true, .. } | Sent::Direct { delivered: true, .. } => {
                format!("Sent to {name}{fate}")
            }
            Sent::Direct { .. } => format!("Stored for {name}{fate}"),
            Sent::Broadcast { recipients: 0, .. } => "Nobody is here; nothing was sent.".into(),
            Sent::Broadcast { recipients, pushed, .. } => {
                format!("Sent to {recipients} peers; {pushed} are connected now.")
            }
        };
        let damped = sent.damped().map(|why| format!(" It is told later: {why}."));
        text + &damped.unwrap_or_default()
    }

    fn take_error(&mut self, purpose: &Purpose, error: ClientError) {
        let now = self.now.mono;
        let is_absent = is_absence(&error);
        let is_refused_for_now =
            matches!(error.code(), Some(Code::RateLimited | Code::Unavailable));
        if let ClientError::Refused(refused) = &error
            && is_refused_for_now
        {
            self.asks.be_quiet(now.plus(refused.retry_after.unwrap_or(LATER)));
        } else if is_absent {
            self.asks.is_live = false;
            self.asks.be_quiet(now.plus(LATER));
        }
        self.asks.want(purpose, now.plus(LATER));
        match purpose {
            // The database is another than before, and has not come so far yet.
            Purpose::Events
                if error.code() == Some(Code::InvalidRequest) && self.asks.cursor.is_some() =>
            {
                self.asks.cursor = None;
                self.asks.want_all(now);
                self.picture.begin_anew();
                self.complain("The broker has begun anew; what was before is gone.");
            }
            Purpose::Send(_) | Purpose::Unlock(_) => {
                self.asks.want(&Purpose::Locks, now);
                self.complain(&error.to_string());
            }
            _ if is_refused_for_now || is_absent => {}
            Purpose::Events => self.failure = Some(error),
            _ => self.complain(&error.to_string()),
        }
    }

    pub(super) fn say(&mut self, text: &str) {
        self.notice = Some((clean(text, 400), false));
    }

    pub(super) fn complain(&mut self, text: &str) {
        self.notice = Some((clean(text, 400), true));
    }

    // --- What is shown ------------------------------------------------------------------------

    /// Who gets which part of the screen; none: it is too small.
    pub(super) fn layout(&self) -> Option<Layout> {
        let rows = (self.picture.peers.len(), self.picture.locks.len());
        layout(self.size, self.focus, self.zoomed, rows)
    }

    /// How many rows of a pane are shown; none: it is not there.
    pub(super) fn height(&self, pane: Pane) -> Option<usize> {
        let mut panes = self.layout()?.panes.into_iter();
        panes.find(|(shown, _)| *shown == pane).map(|(_, area)| rows_in(area))
    }

    /// A path as it is shown.
    pub(super) fn path(&self, path: &str) -> String {
        clean(&short_path(path, self.home.as_deref()), usize::MAX)
    }

    /// The rows of a pane, in their order.
    pub(super) fn rows(&self, pane: Pane) -> Vec<RowId> {
        let picture = &self.picture;
        let shown = |seq: Seq| picture.frozen_at.is_none_or(|at| seq <= at);
        match pane {
            Pane::Peers => {
                self.chosen(picture.peers.iter(), |peer| RowId::Peer(peer.id), peer_words)
            }
            Pane::Locks => {
                self.chosen(picture.locks.iter(), |lock| RowId::Lock(lock.fence), lock_words)
            }
            Pane::Messages => {
                let rows = picture.messages.iter().rev().filter(|row| shown(row.seq));
                self.chosen(rows, |row| RowId::Message(row.seq), |row| self.message_words(row))
            }
            Pane::Events => {
                let rows = picture.events.iter().rev().filter(|row| shown(row.seq));
                let words = |row: &super::picture::EventRow| format!("{} {}", row.kind, row.text);
                self.chosen(rows, |row| RowId::Event(row.seq), words)
            }
        }
    }

    /// Those whose words contain the filter.
    fn chosen<'a, T: 'a>(
        &self,
        rows: impl Iterator<Item = &'a T>,
        item: fn(&T) -> RowId,
        words: impl Fn(&T) -> String,
    ) -> Vec<RowId> {
        let is_chosen =
            |row: &&T| self.filter.is_empty() || words(row).to_lowercase().contains(&self.filter);
        rows.filter(is_chosen).map(item).collect()
    }

    fn message_words(&self, row: &MessageRow) -> String {
        let text = row.info.as_ref().map_or("", |info| &*info.payload);
        let (from, to) = (self.picture.name(&row.from), self.picture.recipient(row));
        format!("{from} {to} {text}")
    }

    /// Which of the rows of a pane is selected, if one is, and which is the first one shown.
    pub(super) fn window(
        &self,
        pane: Pane,
        rows: &[RowId],
        height: usize,
    ) -> (Option<usize>, usize) {
        self.selections
            .get(pane as usize)
            .map_or((None, 0), |selection| selection.window(rows, height))
    }

    /// The message that is read in full.
    fn open_message(&self) -> Option<Seq> {
        match self.mode {
            Mode::Read { item: Some(RowId::Message(seq)), .. } => Some(seq),
            _ => None,
        }
    }

    /// The messages on the screen of which something is not known yet, and when they are worth a
    /// look.
    fn next_look(&self) -> Option<(Monotonic, MessageSpan)> {
        let mut due = Vec::new();
        if let Some(row) = self.open_message().and_then(|seq| self.picture.message(seq)) {
            let is_known = self.full.as_ref().is_some_and(is_final);
            due.extend(Some((row.look_at, row.seq)).filter(|_| !row.is_gone && !is_known));
        } else if let Some(height) = self.height(Pane::Messages) {
            let rows = self.rows(Pane::Messages);
            let (_, first) = self.window(Pane::Messages, &rows, height);
            let shown = rows.iter().skip(first).take(height);
            let shown = shown.filter_map(|item| match item {
                RowId::Message(seq) => self.picture.message(*seq),
                _ => None,
            });
            let open = shown.filter(|row| !row.is_settled());
            due.extend(open.map(|row| (row.look_at, row.seq)));
        }
        let (at, _) = *due.iter().min()?;
        // One look is for all that are due then.
        let then = at.max(self.now.mono);
        let due = due.iter().filter(|(at, _)| *at <= then).map(|(_, seq)| *seq);
        Some((at, MessageSpan { first: due.clone().min()?, last: due.max()? }))
    }
}

fn peer_words(peer: &PeerInfo) -> String {
    let text = |text: &Option<Box<str>>| text.clone().unwrap_or_default();
    let (branch, summary) = (text(&peer.git_branch), text(&peer.summary));
    let (name, agent, reach) = (&peer.name, &peer.agent_type, &peer.reach);
    let host = peer.host.map(|host| host.to_string()).unwrap_or_default();
    format!("{name} {host} {agent} {reach} {branch} {} {summary}", peer.project_path)
}

fn lock_words(lock: &LockInfo) -> String {
    let reason = lock.reason.as_deref().unwrap_or_default();
    format!("{} {} {reason}", lock.file_path, lock.locked_by_name)
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
