//! Keys, and what they do.

use terminput::KeyCode;

use super::app::{App, Mode, Wish};
use super::asks::{Addressee, Purpose};
use super::keys::Key;
use super::panes::{Pane, RowId, Selection};
use crate::api::{self, GitPlace, LockPath, Request, SendMessage};
use crate::cli::actor::CLI;
use crate::client::new_id;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::model::{MessageKind, Party};

/// Longest filter, bytes.
const FILTER_BYTES_MAX: usize = 200;

/// Changes a text that is being typed, at whose end one is.
fn type_into(text: &mut String, key: &Key, bytes_max: usize) {
    let room = bytes_max.saturating_sub(text.len());
    match key {
        Key::Code(KeyCode::Char(c)) if c.len_utf8() <= room => text.push(*c),
        Key::Code(KeyCode::Backspace) => drop(text.pop()),
        Key::Paste(pasted) => {
            let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= room;
            text.extend(pasted.char_indices().take_while(fits).map(|(_, c)| c));
        }
        Key::Ctrl('u') => text.clear(),
        Key::Ctrl('w') => {
            let kept = text.trim_end();
            text.truncate(kept.rfind(char::is_whitespace).map_or(0, |at| at + 1));
        }
        _ => {}
    }
}

impl App {
    /// A key was pressed.
    pub(super) fn handle_key(&mut self, key: &Key) {
        self.is_dirty = true;
        self.notice = None;
        match key {
            Key::Ctrl('c') => return self.wish = Some(Wish::Quit),
            Key::Ctrl('z') => return self.wish = Some(Wish::Suspend),
            Key::Ctrl('l') => return self.wish = Some(Wish::Redraw),
            // There is no room for anything but to leave.
            Key::Code(KeyCode::Char('q')) if self.layout().is_none() => {
                return self.wish = Some(Wish::Quit);
            }
            _ if self.layout().is_none() => return,
            _ => {}
        }
        let enter = *key == Key::Code(KeyCode::Enter);
        let escape = *key == Key::Code(KeyCode::Esc);
        match std::mem::replace(&mut self.mode, Mode::Normal) {
            Mode::Normal => self.handle_normal(key),
            Mode::Filter(_) if enter => {}
            Mode::Filter(_) if escape => self.filter.clear(),
            Mode::Filter(mut text) => {
                type_into(&mut text, key, FILTER_BYTES_MAX);
                self.filter = text.to_lowercase();
                self.mode = Mode::Filter(text);
            }
            Mode::Compose { to, text } if enter && !text.trim().is_empty() => self.send(to, &text),
            Mode::Compose { .. } if enter || escape => self.say("Nothing was sent."),
            Mode::Compose { to, mut text } => {
                type_into(&mut text, key, PAYLOAD_BYTES_MAX);
                self.mode = Mode::Compose { to, text };
            }
            Mode::Confirm { path, holder } => match key {
                Key::Code(KeyCode::Char('y' | 'Y')) => self.unlock(path, &holder),
                _ => self.say("Nothing was released."),
            },
            Mode::Read { item, line } => {
                if let Some(line) = self.scrolled(item, line, key) {
                    self.mode = Mode::Read { item, line };
                    return;
                }
                self.full = None;
                if let (Some(_), Key::Code(KeyCode::Char('s' | 'u'))) = (item, key) {
                    self.handle_normal(key);
                }
            }
        }
    }

    fn handle_normal(&mut self, key: &Key) {
        use KeyCode::{Char, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up};
        let code = match key {
            Key::BackTab => Left,
            Key::Code(code) => *code,
            _ => return,
        };
        let page = isize::try_from(self.focus_height()).unwrap_or(1);
        match code {
            Char('q') => self.wish = Some(Wish::Quit),
            Char('?' | 'h') => self.mode = Mode::Read { item: None, line: 0 },
            Tab | Right => self.focus = self.focus.next(1),
            Left => self.focus = self.focus.next(3),
            Char(c @ '1'..='4') => self.focus = Pane::Peers.next(c as usize - '1' as usize),
            Up | Char('k') => self.step(-1),
            Down | Char('j') => self.step(1),
            PageUp => self.step(-page),
            PageDown => self.step(page),
            Home | Char('g') => self.select_none(),
            End | Char('G') => self.step(isize::MAX),
            Enter => self.open(),
            Char('s') => self.compose_to_selected(),
            Char('b') => self.compose("all".into(), "everyone".into(), None),
            Char('u') => self.confirm_unlock(),
            Char('/') => self.mode = Mode::Filter(self.filter.clone()),
            Char('z') => self.zoomed = !self.zoomed,
            Char(' ') => self.picture.set_paused(self.picture.frozen_at.is_none()),
            Esc if self.selected().is_some() => self.select_none(),
            Esc => self.filter.clear(),
            _ => {}
        }
    }

    /// Where a text that is read stands after a key; none if the key does not move it.
    fn scrolled(&self, item: Option<RowId>, line: usize, key: &Key) -> Option<usize> {
        use KeyCode::{Char, Down, End, Home, PageDown, PageUp, Up};
        let Key::Code(code) = key else { return None };
        let height = self.layout().map_or(1, |layout| layout.body.height).saturating_sub(2).max(1);
        let height = usize::from(height);
        let last = self.reading(item).wrapped(self.size.0).len().saturating_sub(height);
        Some(match code {
            Up | Char('k') => line.min(last).saturating_sub(1),
            Down | Char('j') => line.saturating_add(1).min(last),
            PageUp => line.min(last).saturating_sub(height),
            PageDown | Char(' ') => line.saturating_add(height).min(last),
            Home | Char('g') => 0,
            End | Char('G') => last,
            _ => return None,
        })
    }

    // --- Selecting ----------------------------------------------------------------------------

    fn focus_height(&self) -> usize {
        self.height(self.focus).unwrap_or(1).max(1)
    }

    /// Selects the row so many further down.
    fn step(&mut self, by: isize) {
        let (rows, height) = (self.rows(self.focus), self.focus_height());
        let Some(last) = rows.len().checked_sub(1) else { return };
        let (selected, first) = self.window(self.focus, &rows, height);
        let index = match selected {
            Some(index) => index.saturating_add_signed(by).min(last),
            None if by == isize::MAX => last,
            None => 0,
        };
        let line = index - first.clamp(index.saturating_sub(height - 1), index);
        self.set_selection(Selection { selected: rows.get(index).copied(), index, line });
    }

    fn select_none(&mut self) {
        self.set_selection(Selection::default());
    }

    fn set_selection(&mut self, to: Selection) {
        if let Some(selection) = self.selections.get_mut(self.focus as usize) {
            *selection = to;
        }
    }

    /// What is selected in the pane that one is in.
    pub(super) fn selected(&self) -> Option<RowId> {
        let rows = self.rows(self.focus);
        let (index, _) = self.window(self.focus, &rows, self.focus_height());
        rows.get(index?).copied()
    }

    /// The same, or the first row.
    fn selected_or_first(&mut self) -> Option<RowId> {
        if self.selected().is_none() {
            self.step(0);
        }
        self.selected()
    }

    // --- Doing --------------------------------------------------------------------------------

    fn open(&mut self) {
        let Some(item) = self.selected_or_first() else { return };
        if let RowId::Message(seq) = item
            && let Some(row) = self.picture.message_mut(seq)
        {
            (row.look_at, row.looks) = (self.now.mono, 0);
            self.asks.hurry();
        }
        self.mode = Mode::Read { item: Some(item), line: 0 };
    }

    fn compose_to_selected(&mut self) {
        let picture = &self.picture;
        let (party, reply_to) = match self.selected() {
            Some(RowId::Peer(id)) => (Some(Party::Peer(id)), None),
            Some(RowId::Message(seq)) => {
                let row = picture.message(seq);
                (row.map(|row| row.from.clone()), row.map(|row| row.id))
            }
            Some(RowId::Lock(fence)) => {
                (picture.lock(fence).map(|lock| lock.locked_by.clone()), None)
            }
            Some(RowId::Event(seq)) => (picture.event(seq).and_then(|row| row.by.clone()), None),
            None => (None, None),
        };
        match party {
            Some(Party::Label(label)) => {
                self.complain(&format!("{label} is a script's name: it has no inbox."));
            }
            Some(party) => {
                let name = picture.name(&party).into();
                self.compose(party.to_string().into(), name, reply_to);
            }
            None => {
                self.complain("To whom? Select a peer, or a message to answer; b writes to all.");
            }
        }
    }

    fn compose(&mut self, to: Box<str>, name: Box<str>, reply_to: Option<crate::model::MessageId>) {
        let to = Addressee { to, name, reply_to };
        self.mode = Mode::Compose { to, text: String::new() };
    }

    fn send(&mut self, to: Addressee, text: &str) {
        let request = Request::Send(SendMessage {
            from_peer: Some(CLI.into()),
            to_peer: to.to.clone(),
            payload: text.into(),
            kind: MessageKind::Text,
            reply_to: to.reply_to.map(Into::into),
            id: new_id(),
            place: api::Place::default(),
        });
        self.asks.urgent.push_back((Purpose::Send(to), request));
        self.say(if self.asks.is_live {
            "Sending ..."
        } else {
            "It is sent when the broker is back."
        });
    }

    fn confirm_unlock(&mut self) {
        if self.focus != Pane::Locks {
            return self.complain("Go to the locks first: 3, or Tab.");
        }
        let Some(RowId::Lock(fence)) = self.selected_or_first() else {
            return self.complain("Nothing is locked.");
        };
        let Some(lock) = self.picture.lock(fence) else { return };
        let path = LockPath {
            exact: !lock.pattern && !lock.is_repo_wide(),
            git: GitPlace {
                repo_id: lock.repo_id.clone(),
                repo_hash: lock.repo_hash,
                ..GitPlace::default()
            },
            ..LockPath::of(lock.file_path.clone())
        };
        self.mode = Mode::Confirm { path, holder: lock.locked_by.clone() };
    }

    fn unlock(&mut self, path: LockPath, holder: &Party) {
        let purpose = Purpose::Unlock(path.file_path.clone());
        let force = *holder != Party::Cli;
        let request = Request::Unlock { peer_id: Some(CLI.into()), path, force };
        self.asks.urgent.push_back((purpose, request));
    }
}
