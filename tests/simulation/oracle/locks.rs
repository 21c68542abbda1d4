//! Locks: who was told that it has one, and that nobody keeps one that nobody knows of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slm_mesh::api::LockInfo;
use slm_mesh::model::{Party, PeerId, Seq};
use slm_mesh::store::{EventQuery, Store};

use super::{Oracle, speakers};
use crate::generate::Known;
use crate::world::{Backend, Seen, Token, World};

impl Oracle {
    /// The holder of this lock is told that it has it.
    pub(super) fn tell(&mut self, fence: Seq) {
        let told = self.told.entry(fence).or_default();
        told.answers += 1;
        told.ever += 1;
        if told.ever > 1 {
            self.met.insert("told again who holds a lock".to_owned());
        }
    }

    /// A list tells whoever it is for of its locks: the peer whose token it was, or, with the
    /// broker's, the one in whose name it was asked what a path means.
    pub(super) fn listed(
        &mut self,
        locks: &[LockInfo],
        token: &Token,
        body: &Value,
        known: &Known,
    ) {
        let has_path = !body["filePath"].is_null() || !body["filePaths"].is_null();
        let asked_for = body["peerId"].as_str().filter(|_| has_path).unwrap_or("cli");
        let told = match token {
            Token::Peer(..) => speakers(token, body, known).next().map(Party::Peer),
            // A name or a prefix may be another's than is known here.
            Token::Person(home) => match PeerId::parse(asked_for) {
                Some(id) => Some(Party::Peer(id)).filter(|_| known.home_of(id) == Some(*home)),
                None => ["cli", "script-1"].contains(&asked_for).then(|| Party::parse(asked_for)),
            },
        };
        for lock in locks {
            match &told {
                Some(told) if *told == lock.locked_by => self.tell(lock.fence),
                Some(_) => {}
                None => self.told.entry(lock.fence).or_default().ever += 1,
            }
        }
    }

    /// A lock whose answer was lost is free if that was the only one, and is not if its holder may
    /// have been told by another.
    pub(crate) fn check_lost<B: Backend>(&mut self, world: &mut World<B>, seen: &Seen) {
        if seen.down {
            self.unseen_to = world.mesh().store_mut().last_seq();
        }
        let lost: Vec<Seq> = seen.lost.iter().map(|(fence, _)| *fence).collect();
        if !self.check_known(world, &lost).is_empty() {
            self.met.insert("kept though an answer was lost".to_owned());
        }
    }

    /// Nobody keeps a lock that he does not know of.
    pub(crate) fn check_grants<B: Backend>(&mut self, world: &mut World<B>) {
        let locks = world.mesh().store_mut().locks().unwrap();
        let unseen_to = self.unseen_to;
        let all: Vec<Seq> = locks.iter().map(|it| it.fence).filter(|it| *it > unseen_to).collect();
        self.check_known(world, &all);
    }

    /// Checks of those of these locks that are held that somebody knows of it, and gives them.
    fn check_known<B: Backend>(&mut self, world: &mut World<B>, fences: &[Seq]) -> Vec<Seq> {
        if fences.is_empty() {
            return Vec::new();
        }
        let types = ["file_locked".into(), "file_unlocked".into()];
        let query = EventQuery { types: &types, since: None, after: Some(Seq(0)), limit: u32::MAX };
        let store = world.mesh().store_mut();
        let held: BTreeSet<Seq> = store.locks().unwrap().iter().map(|lock| lock.fence).collect();
        // Fences by file and holder, until the lock is free.
        let mut holdings: BTreeMap<(String, String), Vec<Seq>> = BTreeMap::new();
        for event in store.events(&query, &mut |_| true).unwrap().events {
            let payload: Value = serde_json::from_str(&event.payload).unwrap();
            let fence = Seq(payload["fence"].as_u64().unwrap());
            let of = (payload["filePath"].to_string(), payload["lockedBy"].to_string());
            let fences = holdings.entry(of).or_default();
            if *event.kind == *"file_locked" {
                fences.push(fence);
                continue;
            }
            fences.retain(|other| *other != fence);
            if payload["reason"] == "unclaimed" {
                let told = self.told.get(&fence).map_or(0, |told| told.answers);
                assert_eq!(told, 0, "the lock {fence} was freed and its holder told it has it");
                self.met.insert("unclaimed".to_owned());
            }
        }
        let held: Vec<Seq> = fences.iter().copied().filter(|fence| held.contains(fence)).collect();
        for fence in &held {
            // Who had shared it, or had it alone, was told then.
            let had = holdings.values().any(|of| of.len() > 1 && of.last() == Some(fence));
            let known = self.told.get(fence).is_some_and(|told| told.answers > 0 || told.ever > 1);
            assert!(known || had, "nobody knows of the lock {fence}");
        }
        held
    }

    pub(super) fn fence(&mut self, lock: &LockInfo, known: &mut Known) {
        // Of those who share, the first may renew what it has had for long.
        if !self.seqs.contains(&lock.fence) {
            let last = self.fences.insert(lock.file_path.clone(), lock.fence);
            assert!(last < Some(lock.fence), "fences of {} only grow", lock.file_path);
            self.number(lock.fence, known);
        }
    }
}
