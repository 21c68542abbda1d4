//! The same random operations on two backends: the same answers.
//!
//! `STORE_SEED` and `STORE_STEPS` in the environment replay or lengthen a run; a failure prints its
//! seed and step.

use std::fmt::Debug;
use std::path::Path;

use super::*;
use crate::model::{How, LeaveReason, Told, Way};
use crate::store::Telling;
use crate::store::journal::JournaledSqlite;
use crate::store::journal::tests::copy;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{Options, SqliteStore, journal_of};
use crate::store::{PurgeBefore, StateChange};

/// The generator `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn small(&mut self, end: u8) -> u8 {
        u8::try_from(self.below(end.into())).unwrap()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()].clone()
    }
}

const PEERS: u8 = 6;

/// A store in files.
trait OnDisk: Store + Sized {
    fn open(path: &Path) -> Self;
    fn close(self);
    fn integrity(&mut self) -> Option<String>;

    /// Spoils what is written last: the turn that is being committed when the broker is killed.
    fn tear(&mut self, _random: &mut Random, _crashed: &Path) {}
}

impl OnDisk for SqliteStore {
    fn open(path: &Path) -> Self {
        Self::open(path, &Options::default()).unwrap()
    }

    fn close(self) {
        self.close().unwrap();
    }

    fn integrity(&mut self) -> Option<String> {
        self.integrity().unwrap()
    }
}

impl OnDisk for JournaledSqlite {
    fn open(path: &Path) -> Self {
        Self::open(path, &Options::default()).unwrap()
    }

    fn close(self) {
        self.close().unwrap();
    }

    fn integrity(&mut self) -> Option<String> {
        self.database().integrity().unwrap()
    }

    fn tear(&mut self, random: &mut Random, crashed: &Path) {
        let whole = usize::try_from(self.journal_bytes()).unwrap();
        turn(self, |store| emit(store, "torn", None, &Draft::new("{}", T0)));
        let journal = journal_of(crashed);
        let mut bytes = std::fs::read(self.journal_path()).unwrap();
        let end = usize::try_from(self.journal_bytes()).unwrap();
        bytes.truncate(end);
        let place = whole + usize::try_from(random.below((end - whole) as u64)).unwrap();
        if random.one_in(2) {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << random.below(8);
        }
        std::fs::write(journal, bytes).unwrap();
    }
}

/// Two stores that are told the same.
struct Pair<D: OnDisk> {
    random: Random,
    model: MemoryStore,
    sqlite: Option<D>,
    dir: TempDir,
    /// Copies made of the files: each crash goes on with a new one.
    crashes: u32,
    step: u64,
    seed: u64,
    /// The wall clock: goes forward, jumps now and then.
    now: Timestamp,
    /// The mesh's own time, which never goes back.
    time: MeshTime,
    present: Vec<u8>,
}

impl<D: OnDisk> Pair<D> {
    fn new(seed: u64) -> Self {
        let dir = TempDir::new();
        let sqlite = D::open(&dir.file("0.db"));
        Self {
            random: Random(seed),
            model: MemoryStore::new(),
            sqlite: Some(sqlite),
            dir,
            crashes: 0,
            step: 0,
            seed,
            now: T0,
            time: time(0),
            present: Vec::new(),
        }
    }

    fn sqlite(&mut self) -> &mut D {
        self.sqlite.as_mut().unwrap()
    }

    /// Does something with both; the answers must be the same.
    fn both<T: Debug + PartialEq>(&mut self, mut work: impl FnMut(&mut dyn Store) -> T) -> T {
        let wanted = work(&mut self.model);
        let got = work(self.sqlite());
        assert_eq!(got, wanted, "seed {}, step {}", self.seed, self.step);
        wanted
    }

    fn run(&mut self, steps: u64) {
        while self.step < steps {
            self.now = self.now.plus_ms(match self.random.below(50) {
                0 => -500,
                1 => 500,
                _ => 1,
            });
            self.time = self.time.plus_ms(if self.random.one_in(50) { 500 } else { 1 });
            match self.random.below(60) {
                0 => self.reopen(),
                1 => self.crash(),
                2..10 => self.read(),
                _ => self.turn(),
            }
            self.compare();
            let idle = self.random.one_in(2);
            self.sqlite().maintain(idle).unwrap();
        }
        self.compare_everything();
        assert_eq!(self.sqlite().integrity(), None);
    }

    fn turn(&mut self) {
        let present = self.present.clone();
        self.both(|store| store.begin_turn().unwrap());
        if self.random.one_in(4) {
            let ms = self.time.0 - T0.0;
            self.both(|store| note(store, ms));
        }
        for _ in 0..=self.random.below(6) {
            self.step += 1;
            if self.random.one_in(4) {
                self.read();
            } else {
                self.write();
            }
            self.both(|store| store.counts());
        }
        self.both(|store| (store.turn_wrote(), store.last_seq()));
        if self.random.one_in(5) {
            self.both(|store| store.rollback_turn());
            self.present = present;
        } else {
            self.both(|store| store.commit_turn().unwrap());
        }
    }

    fn compare(&mut self) {
        self.both(|store| (store.counts(), store.last_seq(), store.first_seq().unwrap()));
        for n in 1..=PEERS {
            self.both(|store| store.unread_count(inbox_of(n)).unwrap());
            self.both(|store| store.unread_direct(peer(n), 5).unwrap());
        }
        for name in ["shared", "peer-1", "nobody"] {
            self.both(|store| store.mailboxes(name).unwrap());
        }
    }

    fn compare_everything(&mut self) {
        self.both(|store| store.locks().unwrap());
        self.both(|store| store.present_peers().unwrap());
        self.both(|store| store.last_time().unwrap());
        self.both(|store| store.reserved_names(MeshTime(0)).unwrap());
        for namespace in [Some("default"), Some("other"), None] {
            self.both(|store| {
                store.list_state(namespace, "", time(0), 1000, &mut |_| true).unwrap()
            });
        }
        let types = [];
        let query = EventQuery { types: &types, since: None, after: Some(Seq(0)), limit: 10_000 };
        self.both(|store| read_events(store, &query));
        for sender in Self::parties() {
            let query = SentQuery { limit: 1000, ..sent_by(&sender) };
            self.both(|store| list_sent(store, &query));
        }
        for recipient in Self::recipients() {
            let query =
                InboxQuery { untold_only: self.random.one_in(3), limit: 1000, ..all(recipient) };
            self.both(|store| peek(store, &query));
            self.both(|store| peek(store, &unread(recipient)));
        }
    }

    /// Closes the database and opens it again. Numbers that went with no row may be given again.
    fn reopen(&mut self) {
        self.keep_number();
        let path = self.dir.file(&format!("{}.db", self.crashes));
        self.sqlite.take().unwrap().close();
        self.sqlite = Some(D::open(&path));
        self.compare_everything();
    }

    /// Goes on with a copy of the files as they are, as after a kill.
    fn crash(&mut self) {
        self.keep_number();
        let old = self.dir.file(&format!("{}.db", self.crashes));
        self.crashes += 1;
        let new = self.dir.file(&format!("{}.db", self.crashes));
        copy(&old, &new);
        if self.random.one_in(2) {
            self.sqlite.as_mut().unwrap().tear(&mut self.random, &new);
        }
        self.sqlite = Some(D::open(&new));
        self.compare_everything();
    }

    /// A number given in the last turn is only kept if something was stored in it.
    fn keep_number(&mut self) {
        self.both(|store| turn(store, |store| emit(store, "keep.it", None, &Draft::new("", T0))));
    }

    fn parties() -> Vec<Party> {
        let labels = ["bot", "script"].map(|label| Party::Label(label.into()));
        (1..=PEERS).map(party).chain([Party::Cli]).chain(labels).collect()
    }

    fn recipients() -> Vec<Recipient> {
        (1..=PEERS).map(inbox_of).chain([Recipient::Cli]).collect()
    }

    fn party(&mut self) -> Party {
        self.random.pick(&Self::parties())
    }

    fn recipient(&mut self) -> Recipient {
        self.random.pick(&Self::recipients())
    }

    /// A number that was given, mostly a recent one.
    fn seq(&mut self) -> Seq {
        let last = self.model.last_seq().0;
        let back = if self.random.one_in(3) { last + 3 } else { 30 };
        Seq(last.saturating_sub(self.random.below(back)))
    }

    fn maybe<T>(&mut self, one_in: u64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.random.one_in(one_in).then(|| value(self))
    }

    fn write(&mut self) {
        match self.random.below(100) {
            0..30 => self.send(),
            30..40 => self.emit(),
            40..50 => self.fetch(),
            50..55 => self.mark(),
            55..70 => self.mark_delivered(),
            70..75 => self.change_peer(),
            75..85 => self.change_state(),
            85..95 => self.change_locks(),
            95..98 => self.purge(),
            _ => drop(self.both(|store| store.next_seq())),
        }
    }

    fn draft<'a>(&mut self, text: &'a str) -> Draft<'a> {
        let now = self.now;
        let client_id = self.maybe(3, |pair| Uuid::from_bytes([pair.random.small(40); 16]));
        let reply_to = self.maybe(4, |pair| MessageId::new(pair.seq(), [1; 16]));
        Draft { text, at: now, client_id, reply_to }
    }

    fn send(&mut self) {
        let from = self.party();
        let length = if self.random.one_in(20) { 9000 } else { 20 };
        let text = format!("{}{}", self.step, "x".repeat(length));
        let draft = self.draft(&text);
        let everyone: Vec<PeerId> =
            (self.present.iter().map(|n| peer(*n))).filter(|id| from != Party::Peer(*id)).collect();
        if !everyone.is_empty() && self.random.one_in(4) {
            let group = self.random.pick(&[None, Some("#build"), Some("repo")]);
            let to = group.map_or(To::Many(&everyone), |group| To::Group(group, &everyone));
            self.both(|store| post(store, &from, to, &draft));
        } else if self.random.one_in(5) {
            let name = self.mailbox();
            let host = self.random.pick(&[None, host(1), host(2)]);
            self.both(|store| post(store, &from, To::Name(name, host), &draft));
        } else {
            let to = self.recipient();
            self.both(|store| post(store, &from, To::One(to), &draft));
        }
    }

    /// A name that may have a mailbox: `shared` goes from peer to peer.
    fn mailbox(&mut self) -> &'static str {
        self.random.pick(&["shared", "shared", "peer-1", "peer-2", "nobody"])
    }

    fn kind(&mut self) -> Box<str> {
        self.random.pick(&["a.b", "a.c", "b.d", "peer_left", "message_received", "ab.c"]).into()
    }

    fn emit(&mut self) {
        let kind = self.kind();
        let emitter = self.maybe(2, Self::party);
        let mut draft = self.draft("{}");
        if emitter.is_none() {
            draft.client_id = None;
        }
        self.both(|store| emit(store, &kind, emitter.as_ref(), &draft));
    }

    fn inbox_query<T>(&mut self, work: impl FnOnce(&mut Self, &InboxQuery<'_>) -> T) -> T {
        let from = self.maybe(4, Self::party);
        let mut but: Vec<Seq> = (0..self.random.below(4)).map(|_| self.seq()).collect();
        but.sort();
        let query = InboxQuery {
            recipient: self.recipient(),
            unread_only: self.random.one_in(2),
            untold_only: self.random.one_in(3),
            from: from.as_ref(),
            before: self.maybe(4, Self::seq),
            after: self.maybe(4, Self::seq),
            but: &but,
            limit: self.random.pick(&[0, 1, 3, 20, 1000]),
        };
        work(self, &query)
    }

    fn fetch(&mut self) {
        let (now, most) = (self.now, self.random.below(10));
        self.inbox_query(|pair, query| {
            pair.both(|store| {
                let mut offered = 0;
                let keep = &mut |_: &Message| {
                    offered += 1;
                    offered <= most
                };
                store.inbox(query, Some(now), keep).unwrap()
            });
        });
    }

    fn mark(&mut self) {
        let (recipient, now) = (self.recipient(), self.now);
        let page = self.both(|store| peek(store, &all(recipient)));
        let mut ids: Vec<MessageId> = page.messages.iter().map(|message| message.id).collect();
        ids.push(MessageId::new(self.seq(), [0; 16]));
        ids.retain(|_| self.random.one_in(3));
        let way = self.random.pick(&Way::ALL);
        match self.random.below(4) {
            0 => drop(self.both(|store| store.mark_read(recipient, &ids, now, None).unwrap())),
            1 => drop(self.both(|store| store.mark_read(recipient, &ids, now, Some(way)).unwrap())),
            2 => {
                let telling = Telling::Dropped(way);
                self.both(|store| store.mark_told(recipient, &ids, telling).unwrap());
            }
            _ => {
                let how = self.random.pick(&How::ALL);
                let told = Told { at: now, by: way, how, whole: self.random.one_in(2) };
                let telling = Telling::Told(told);
                self.both(|store| store.mark_told(recipient, &ids, telling).unwrap());
            }
        }
    }

    fn mark_delivered(&mut self) {
        let (n, now) = (1 + self.random.small(PEERS), self.now);
        let waiting = self.both(|store| store.undelivered(peer(n), Seq(0), 10).unwrap().messages);
        let mut seqs: Vec<Seq> = waiting.iter().map(|message| message.seq).collect();
        seqs.push(self.seq());
        seqs.retain(|_| self.random.one_in(2));
        self.both(|store| store.mark_delivered(peer(n), &seqs, now).unwrap());
        if let Some(broadcast) = waiting.iter().find(|message| message.to.is_none()) {
            let some: Vec<_> = (1..=PEERS).map(peer).filter(|_| self.random.one_in(2)).collect();
            let seq = broadcast.seq;
            self.both(|store| store.mark_broadcast_delivered(seq, &some, now).unwrap());
        }
    }

    fn change_peer(&mut self) {
        let n = 1 + self.random.small(PEERS);
        let left_at = self.maybe(3, |pair| pair.now);
        self.present.retain(|present| *present != n);
        if left_at.is_none() {
            self.present.push(n);
        }
        // No two present peers have one name.
        let shared = self.model.present_peers().unwrap();
        let shared = shared.iter().any(|other| *other.name == *"shared" && other.id != peer(n));
        let name = if !shared && self.random.one_in(2) { "shared".into() } else { record(n).name };
        let record = PeerRecord {
            left_at,
            name,
            name_is_automatic: self.random.one_in(2),
            host: host(n % 3),
            summary: self.maybe(2, |pair| {
                LeaveReason::Crashed.as_str().repeat(usize::from(pair.random.small(9))).into()
            }),
            ..record(n)
        };
        self.both(|store| store.put_peer(&record).unwrap());
    }

    fn change_state(&mut self) {
        let namespace = self.random.pick(&["default", "other"]);
        let key = self.random.pick(&["a", "b", "a/b", "\u{e4}"]);
        let if_version = self.maybe(3, |pair| match pair.random.below(3) {
            0 => Seq(0),
            1 => pair.seq(),
            _ => {
                let entry = pair.both(|store| store.state(namespace, key).unwrap());
                entry.map_or(Seq(1), |entry| entry.version)
            }
        });
        let now = self.time;
        match self.random.below(6) {
            0 => {
                let change = StateChange { namespace, key, if_version };
                self.both(|store| store.delete_state(&change).unwrap());
            }
            1 => drop(self.both(|store| store.expire_state(now, 2).unwrap())),
            _ => {
                let version = self.both(|store| store.next_seq());
                let entry = StateEntry {
                    namespace: namespace.into(),
                    updated_by: self.party(),
                    expires_at: self.maybe(2, |pair| pair.time.plus_ms(100)),
                    ..entry(key, &self.step.to_string(), version)
                };
                self.both(|store| store.set_state(&entry, if_version).unwrap());
            }
        }
        self.both(|store| store.next_state_expiry().unwrap());
    }

    fn change_locks(&mut self) {
        let path = self.random.pick(&["/a", "/b", "/c", "/a/b"]);
        let (holder, now) = (self.party(), self.time);
        let held = self.both(|store| store.locks().unwrap());
        let one = held.first().map_or(Seq(1), |lock| lock.fence);
        match self.random.below(8) {
            0 | 1 => drop(self.both(|store| store.remove_lock(one).unwrap())),
            2 => drop(self.both(|store| store.expire_locks(now, 2).unwrap())),
            n => {
                let fence = if n == 3 { one } else { self.both(|store| store.next_seq()) };
                let lock = Lock {
                    reason: self.maybe(2, |pair| pair.step.to_string().into()),
                    repo_id: self.maybe(3, |_| "/r".into()),
                    pattern: self.random.below(2) == 0,
                    shared: self.random.below(2) == 0,
                    expires_at: now.plus_ms(i64::from(self.random.small(200))),
                    ..lock(path, holder, fence)
                };
                self.both(|store| store.put_lock(&lock).unwrap());
            }
        }
        self.both(|store| store.next_lock_expiry().unwrap());
    }

    fn purge(&mut self) {
        let now = self.time;
        let ages = [100, 300, 1000];
        let before = PurgeBefore {
            messages: now.plus_ms(-self.random.pick(&ages)),
            events: now.plus_ms(-self.random.pick(&ages)),
            departed: now.plus_ms(-self.random.pick(&ages)),
        };
        let limit = self.random.pick(&[1, 5, 100]);
        self.both(|store| store.purge(&before, limit).unwrap());
        // The two agree on what is visible, not on when a party's number goes.
        for n in 1..=PEERS {
            self.both(|store| store.peer(peer(n)).unwrap());
        }
    }

    fn read(&mut self) {
        self.step += 1;
        match self.random.below(7) {
            0 => self.inbox_query(|pair, query| drop(pair.both(|store| peek(store, query)))),
            1 => self.read_sent(),
            5 => self.read_history(),
            2 => self.read_events(),
            3 => {
                let (sender, id) = (self.party(), Uuid::from_bytes([self.random.small(40); 16]));
                self.both(|store| store.client_id(&sender, id).unwrap());
            }
            4 => {
                let (n, after) = (1 + self.random.small(PEERS), self.seq());
                self.both(|store| store.undelivered(peer(n), after, 5).unwrap().messages);
            }
            _ => {
                let prefix = self.random.pick(&["", "a", "a/", "z"]);
                let (limit, now) = (self.random.pick(&[0, 1, 10]), self.time);
                self.both(|store| store.expired_state(now).unwrap());
                self.both(|store| {
                    store.list_state(Some("default"), prefix, now, limit, &mut |_| true).unwrap()
                });
            }
        }
    }

    fn read_sent(&mut self) {
        let sender = self.party();
        let to = self.maybe(2, |pair| match pair.random.below(3) {
            0 => Party::Label(pair.mailbox().into()),
            _ => pair.recipient().into(),
        });
        let query = SentQuery {
            sender: &sender,
            to: to.as_ref(),
            before: self.maybe(3, Self::seq),
            after: self.maybe(3, Self::seq),
            limit: self.random.pick(&[0, 1, 5, 1000]),
        };
        self.both(|store| list_sent(store, &query));
    }

    fn read_history(&mut self) {
        let query = HistoryQuery {
            since: self.maybe(3, |pair| pair.now.plus_ms(-100)),
            before: self.maybe(3, Self::seq),
            after: self.maybe(3, Self::seq),
            limit: self.random.pick(&[0, 1, 5, 1000]),
        };
        self.both(|store| store.history(&query, &mut |_| true).unwrap());
        self.both(|store| store.departed_peers(3).unwrap());
    }

    fn read_events(&mut self) {
        let patterns = ["a.b", "a.*", "a*", "*", "message_received", "peer_left", "none"];
        let types: Vec<Box<str>> =
            (0..self.random.below(4)).map(|_| self.random.pick(&patterns).into()).collect();
        let query = EventQuery {
            types: &types,
            since: self.maybe(3, |pair| {
                let back = i64::try_from(pair.random.below(1500)).unwrap();
                pair.now.plus_ms(-back)
            }),
            after: self.maybe(3, Self::seq),
            limit: self.random.pick(&[1, 5, 1000]),
        };
        self.both(|store| read_events(store, &query));
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn both_backends_give_the_same_answers() {
    let steps = setting("STORE_STEPS").unwrap_or(3000);
    let seeds = setting("STORE_SEED").map_or(1..=2, |seed| seed..=seed);
    for seed in seeds {
        Pair::<SqliteStore>::new(seed).run(steps);
        Pair::<JournaledSqlite>::new(seed).run(steps);
    }
}

/// The hub's own machine, or one of two others.
fn host(n: u8) -> Option<MachineName> {
    let names = [None, Some("Laptop"), Some("tower")];
    names.get(usize::from(n)).copied().flatten().and_then(MachineName::new)
}
