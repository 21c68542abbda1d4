//! Keys, and what they do.

use super::{Addressee, App, Item, Mode, Pane, Purpose, Wish};
use crate::api::{LockPath, Place, Request, SendMessage};
use crate::cli::actor::CLI;
use crate::cli::top::clean::clean;
use crate::cli::top::keys::Key;
use crate::client::new_id;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::model::{MessageKind, Party};

/// Longest filter, bytes.
const FILTER_BYTES_MAX: usize = 200;

/// A text that is being typed, at whose end one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::top) struct Typing {
    pub(in crate::cli::top) text: String,
}

impl Typing {
    /// Takes a key; gives whether it meant something here.
    fn handle(&mut self, key: &Key, bytes_max: usize) -> bool {
        match key {
            Key::Char(c) if self.text.len() + c.len_utf8() <= bytes_max => self.text.push(*c),
            Key::Paste(text) => {
                let room = bytes_max.saturating_sub(self.text.len());
                let mut end = 0;
                let fits = text.chars().take_while(|c| {
                    end += c.len_utf8();
                    end <= room
                });
                self.text.extend(fits);
            }
            Key::Backspace => drop(self.text.pop()),
            Key::Ctrl('u') => self.text.clear(),
            Key::Ctrl('w') => {
                let kept = self.text.trim_end();
                let at = kept.rfind(char::is_whitespace).map_or(0, |at| at + 1);
                self.text.truncate(at);
            }
            _ => return matches!(key, Key::Char(_)),
        }
        true
    }
}

impl App {
    /// A key was pressed.
    pub(in crate::cli::top) fn handle_key(&mut self, key: &Key) {
        self.is_dirty = true;
        self.notice = None;
        match key {
            Key::Ctrl('c') => return self.wish = Some(Wish::Quit),
            Key::Ctrl('z') => return self.wish = Some(Wish::Suspend),
            Key::Ctrl('l') => return self.wish = Some(Wish::Redraw),
            _ => {}
        }
        if self.layout().is_none() {
            // There is no room for anything but to leave.
            if *key == Key::Char('q') {
                self.wish = Some(Wish::Quit);
            }
            return;
        }
        match std::mem::replace(&mut self.mode, Mode::Normal) {
            Mode::Normal => self.handle_normal(key),
            Mode::Filter(typing) => self.handle_filter(typing, key),
            Mode::Compose(typing) => self.handle_compose(typing, key),
            Mode::Confirm { path, holder } => self.handle_confirm(path, &holder, key),
            Mode::Detail { item, line } => self.handle_detail(item, line, key),
            Mode::Help { line } => {
                if let Some(line) = self.scrolled(line, self.help().len(), key) {
                    self.mode = Mode::Help { line };
                } else if *key == Key::Char('q') {
                    self.close();
                }
            }
        }
    }

    fn handle_normal(&mut self, key: &Key) {
        match key {
            Key::Char('q') => self.wish = Some(Wish::Quit),
            Key::Char('?' | 'h') => self.mode = Mode::Help { line: 0 },
            Key::Tab | Key::Right => self.focus = self.focus.next(1),
            Key::BackTab | Key::Left => self.focus = self.focus.next(3),
            Key::Char(c @ '1'..='4') => {
                let number = c.to_digit(10).unwrap_or(1) as usize;
                self.focus = Pane::ALL.into_iter().nth(number - 1).unwrap_or(self.focus);
            }
            Key::Up | Key::Char('k') => self.step(-1),
            Key::Down | Key::Char('j') => self.step(1),
            Key::PageUp => self.step(-self.page()),
            Key::PageDown => self.step(self.page()),
            Key::Home | Key::Char('g') => self.select_none(),
            Key::End | Key::Char('G') => self.step(isize::MAX),
            Key::Enter => self.open(),
            Key::Char('s') => self.compose_to_selected(),
            Key::Char('b') => self.compose(Addressee {
                to: "all".into(),
                name: "everyone".into(),
                reply_to: None,
            }),
            Key::Char('u') => self.confirm_unlock(),
            Key::Char('/') => self.mode = Mode::Filter(Typing { text: self.filter.clone() }),
            Key::Char('z') => self.zoomed = !self.zoomed,
            Key::Char(' ') => self.picture.set_paused(!self.is_paused()),
            Key::Escape if self.selected().is_some() => self.select_none(),
            Key::Escape => self.filter.clear(),
            _ => {}
        }
    }

    fn handle_filter(&mut self, mut typing: Typing, key: &Key) {
        match key {
            Key::Enter => {}
            Key::Escape => self.filter.clear(),
            _ => {
                typing.handle(key, FILTER_BYTES_MAX);
                self.filter = typing.text.to_lowercase();
                self.mode = Mode::Filter(typing);
            }
        }
    }

    fn handle_compose(&mut self, mut typing: Typing, key: &Key) {
        match key {
            Key::Enter if typing.text.trim().is_empty() => self.say("Nothing was sent."),
            Key::Enter => self.send(&typing.text),
            Key::Escape => self.say("Nothing was sent."),
            _ => {
                typing.handle(key, PAYLOAD_BYTES_MAX);
                self.mode = Mode::Compose(typing);
            }
        }
    }

    fn handle_confirm(&mut self, path: LockPath, holder: &Party, key: &Key) {
        if !matches!(key, Key::Char('y' | 'Y')) {
            return self.say("Nothing was released.");
        }
        let request = Request::Unlock {
            peer_id: Some(CLI.into()),
            path: path.clone(),
            force: *holder != Party::Cli,
        };
        self.asks.urgent.push_back((Purpose::Unlock(path.file_path), request));
    }

    fn handle_detail(&mut self, item: Item, line: usize, key: &Key) {
        let lines = self.detail(&item).len();
        if let Some(line) = self.scrolled(line, lines, key) {
            self.mode = Mode::Detail { item, line };
            return;
        }
        match key {
            Key::Char('s' | 'u') => {
                self.close();
                self.handle_normal(key);
            }
            _ => self.close(),
        }
    }

    fn close(&mut self) {
        self.full = None;
        self.full_at = None;
    }

    /// Where a text of so many lines stands after a key; none if the key does not move it.
    fn scrolled(&self, line: usize, lines: usize, key: &Key) -> Option<usize> {
        let height = self.layout().map_or(1, |layout| usize::from(layout.body.height)).max(2) - 1;
        let last = lines.saturating_sub(height);
        Some(match key {
            Key::Up | Key::Char('k') => line.min(last).saturating_sub(1),
            Key::Down | Key::Char('j') => (line + 1).min(last),
            Key::PageUp => line.min(last).saturating_sub(height),
            Key::PageDown | Key::Char(' ') => (line + height).min(last),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            _ => return None,
        })
    }

    // --- Selecting ----------------------------------------------------------------------------

    /// Rows of the pane that one is in.
    fn height(&self) -> usize {
        let layout = self.layout();
        let panes = layout.as_ref().map_or(&[][..], |layout| &layout.panes);
        let area = panes.iter().find(|(pane, _)| *pane == self.focus);
        area.map_or(1, |(_, area)| area.rows()).max(1)
    }

    fn page(&self) -> isize {
        isize::try_from(self.height()).unwrap_or(1)
    }

    /// Selects the row so many further down.
    fn step(&mut self, by: isize) {
        let (pane, height) = (self.focus, self.height());
        let rows = self.rows(pane);
        let Some(last) = rows.len().checked_sub(1) else { return };
        let (selected, first) = self.window(pane, &rows, height);
        let index = match selected {
            Some(index) => index.saturating_add_signed(by).min(last),
            None if by == isize::MAX => last,
            None => 0,
        };
        let first = first.clamp(index.saturating_sub(height - 1), index);
        let item = rows.get(index).and_then(|at| self.item(pane, *at));
        if let Some(place) = self.places.get_mut(pane.index()) {
            place.selected = item;
            place.index = index;
            place.line = index - first;
        }
    }

    fn select_none(&mut self) {
        if let Some(place) = self.places.get_mut(self.focus.index()) {
            *place = super::Place::default();
        }
    }

    /// What is selected in the pane that one is in.
    pub(in crate::cli::top) fn selected(&self) -> Option<Item> {
        let rows = self.rows(self.focus);
        let (index, _) = self.window(self.focus, &rows, self.height());
        self.item(self.focus, *rows.get(index?)?)
    }

    /// The same, or the first row.
    fn selected_or_first(&mut self) -> Option<Item> {
        if self.selected().is_none() {
            self.step(0);
        }
        self.selected()
    }

    // --- Doing --------------------------------------------------------------------------------

    fn open(&mut self) {
        let Some(item) = self.selected_or_first() else { return };
        self.mode = Mode::Detail { item, line: 0 };
        self.ask_full();
    }

    fn compose_to_selected(&mut self) {
        let selected = self.selected();
        let (party, reply_to) = match &selected {
            Some(Item::Peer(id)) => (Some(Party::Peer(*id)), None),
            Some(Item::Message(seq)) => {
                let row = self.picture.message(*seq);
                (row.map(|row| row.from.clone()), row.map(|row| row.id))
            }
            Some(Item::Lock(fence)) => {
                let lock = self.picture.locks.iter().find(|lock| lock.fence == *fence);
                (lock.map(|lock| lock.locked_by.clone()), None)
            }
            Some(Item::Event(seq)) => {
                let row = self.picture.events.iter().find(|row| row.seq == *seq);
                (row.and_then(|row| row.by.clone()), None)
            }
            None => (None, None),
        };
        match party {
            Some(Party::Label(label)) => {
                self.complain(&format!("{label} is a script's name: it has no inbox."));
            }
            Some(party) => {
                let name = self.picture.name(&party).into();
                self.compose(Addressee { to: party.to_string().into(), name, reply_to });
            }
            None => {
                self.complain("To whom? Select a peer, or a message to answer; b writes to all.");
            }
        }
    }

    fn compose(&mut self, addressee: Addressee) {
        self.addressee = Some(addressee);
        self.mode = Mode::Compose(Typing::default());
    }

    fn send(&mut self, text: &str) {
        let Some(Addressee { to, name, reply_to }) = self.addressee.take() else { return };
        let request = Request::Send(SendMessage {
            from_peer: Some(CLI.into()),
            to_peer: to,
            payload: text.into(),
            kind: MessageKind::Text,
            reply_to: reply_to.map(Into::into),
            id: new_id(),
            place: Place::default(),
        });
        self.asks.urgent.push_back((Purpose::Send(name), request));
        self.say(if self.is_live() {
            "Sending ..."
        } else {
            "It is sent when the broker is back."
        });
    }

    fn confirm_unlock(&mut self) {
        if self.focus != Pane::Locks {
            return self.complain("Go to the locks first: 3, or Tab.");
        }
        let Some(Item::Lock(fence)) = self.selected_or_first() else {
            return self.complain("Nothing is locked.");
        };
        let lock = self.picture.locks.iter().find(|lock| lock.fence == fence);
        let Some(lock) = lock else { return };
        let path = LockPath {
            exact: !lock.pattern && !lock.is_repo_wide(),
            repo_id: lock.repo_id.clone(),
            repo_hash: lock.repo_hash,
            ..LockPath::of(lock.file_path.clone())
        };
        self.mode = Mode::Confirm { path, holder: lock.locked_by.clone() };
    }

    /// The question that is asked before a lock is freed.
    pub(in crate::cli::top) fn question(&self, path: &str, holder: &Party) -> (String, String) {
        let file = clean(&crate::cli::text::short_path(path, self.home.as_deref()), 4096);
        (file, format!("held by {}, who may be at work on it? y/n", self.picture.name(holder)))
    }
}
