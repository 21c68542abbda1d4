//! Journals of other programs, versions and databases.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::store::To;
use crate::store::contract::{Draft, T0, post, register, tell, texts, turn, unread};

fn names(dir: &TempDir) -> Vec<String> {
    let files = std::fs::read_dir(dir.file("")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open(path: &Path) -> JournaledSqlite {
    JournaledSqlite::open(path, &Options::default()).unwrap()
}

#[test]
fn a_journal_is_private_and_goes_with_an_orderly_end() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&path);
    register(&mut store, 1);
    let mode = std::fs::metadata(journal_of(&path)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    store.close().unwrap();
    assert_eq!(names(&dir), ["mesh.db"]);
}

#[test]
fn a_journal_of_another_database_is_moved_aside() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&path);
    register(&mut store, 2);
    tell(&mut store, 1, 2, "one");
    let other = dir.file("other.db");
    drop(open(&other));
    let journal = std::fs::read(journal_of(&path)).unwrap();
    std::fs::write(journal_of(&other), &journal).unwrap();
    let mut opened = open(&other);
    assert_eq!(opened.counts().messages.total, 0);
    assert_eq!(opened.last_seq(), Seq(0), "a new database has lost no numbers");
    register(&mut opened, 1);
    let aside: Vec<_> = names(&dir)
        .into_iter()
        .filter(|name| name.starts_with("other.db-turns.foreign-"))
        .collect();
    assert_eq!(aside.len(), 1, "{:?}", names(&dir));
    assert_eq!(std::fs::read(dir.file(&aside[0])).unwrap(), journal);
    // One that has given numbers may have lost its own journal with others.
    turn(&mut opened, |store| {
        _ = post(store, &party(1), To::One(inbox_of(1)), &Draft::new("one", T0));
    });
    opened.close().unwrap();
    std::fs::write(journal_of(&other), &journal).unwrap();
    check_numbers_left_out(&other, 1);
}

/// That a start leaves out those numbers that may have been given, of which `known` are in the
/// database, and that it stays so.
fn check_numbers_left_out(path: &Path, known: u64) {
    // Of a start that was killed before it wrote anything.
    drop(open(path));
    let mut store = open(path);
    let last = store.last_seq();
    assert!((SEQ_MARGIN..SEQ_MARGIN + known + 10).contains(&last.0), "{last:?}");
    assert_eq!(store.next_seq(), last.next());
}

/// A database and its journal with turns that are in no database, as a kill leaves them; and where in
/// the journal the first, second and third message begin.
fn killed(dir: &TempDir) -> (PathBuf, [usize; 3]) {
    let path = dir.file("killed.db");
    let mut store = open(&path);
    register(&mut store, 2);
    store.maintain(true).unwrap();
    let starts = ["one", "two", "three"].map(|text| {
        let start = store.journal_bytes().max(log::HEAD_BYTES as u64);
        tell(&mut store, 1, 2, text);
        usize::try_from(start).unwrap()
    });
    copy(&path, &dir.file("mesh.db"));
    (dir.file("mesh.db"), starts)
}

/// Where copies of damaged journals are.
fn damaged_copies(dir: &TempDir) -> Vec<PathBuf> {
    let is_copy = |name: &String| name.starts_with("mesh.db-turns.damaged-");
    names(dir).iter().filter(|name| is_copy(name)).map(|name| dir.file(name)).collect()
}

fn texts_in(store: &mut JournaledSqlite) -> Vec<String> {
    let page = store.inbox(&unread(inbox_of(2)), None, &mut |_| true).unwrap();
    texts(&page.messages).iter().map(|&text| text.into()).collect()
}

#[test]
fn no_bit_of_a_head_flips_unnoticed() {
    let mut store = in_memory();
    register(&mut store, 2);
    store.maintain(true).unwrap();
    tell(&mut store, 1, 2, "acknowledged");
    let mut ground = store.store.clone();
    ground.drop_held().unwrap();
    let bytes = store.log.medium().bytes.borrow().clone();
    for bit in 0..log::HEAD_BYTES * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = Journaled::new(ground.clone(), Tape::holding(flipped), false);
        assert!(matches!(opened, Err(Unfit::Useless(_) | Unfit::Damaged(_))), "bit {bit}");
    }
}

#[test]
fn a_damaged_head_is_told_and_a_copy_kept() {
    let dir = TempDir::new();
    let (path, _) = killed(&dir);
    let mut journal = std::fs::read(journal_of(&path)).unwrap();
    journal[20] ^= 4;
    std::fs::write(journal_of(&path), &journal).unwrap();
    check_numbers_left_out(&path, 0);
    let mut store = open(&path);
    assert_eq!(texts_in(&mut store), [""; 0]);
    let copies = damaged_copies(&dir);
    assert_eq!(copies.len(), 1, "{:?}", names(&dir));
    assert_eq!(std::fs::read(&copies[0]).unwrap(), journal);
    let mode = std::fs::metadata(&copies[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    tell(&mut store, 1, 2, "later");
    copy(&path, &dir.file("again.db"));
    assert_eq!(texts_in(&mut open(&dir.file("again.db"))), ["later"]);
    assert_eq!(damaged_copies(&dir).len(), 1);
}

#[test]
fn a_damaged_record_before_others_is_told_and_what_is_before_it_done_again() {
    for (place, found) in [(0, &[][..]), (1, &["one"])] {
        let dir = TempDir::new();
        let (path, starts) = killed(&dir);
        let mut journal = std::fs::read(journal_of(&path)).unwrap();
        // Its length, so that it does not even tell where the next one is.
        journal[starts[place]] ^= 0x40;
        std::fs::write(journal_of(&path), &journal).unwrap();
        assert_eq!(texts_in(&mut open(&path)), found);
        check_numbers_left_out(&path, 3);
        let copies = damaged_copies(&dir);
        assert_eq!(copies.len(), 1, "{:?}", names(&dir));
        assert_eq!(std::fs::read(&copies[0]).unwrap(), journal);
    }
}

#[test]
fn the_last_record_may_be_torn_and_nothing_is_told() {
    let dir = TempDir::new();
    let (path, starts) = killed(&dir);
    let mut journal = std::fs::read(journal_of(&path)).unwrap();
    journal[starts[2] + 30] ^= 1;
    std::fs::write(journal_of(&path), &journal).unwrap();
    let mut store = open(&path);
    assert_eq!(texts_in(&mut store), ["one", "two"]);
    assert_eq!(store.last_seq(), Seq(2));
    assert_eq!(damaged_copies(&dir), [""; 0].map(PathBuf::from));
}

#[test]
fn a_journal_of_no_use_may_have_had_all_numbers_of_a_database() {
    let dir = TempDir::new();
    let path = dir.file("killed.db");
    let mut store = open(&path);
    register(&mut store, 2);
    tell(&mut store, 1, 2, "one");
    copy(&path, &dir.file("mesh.db"));
    let path = dir.file("mesh.db");
    let mut journal = std::fs::read(journal_of(&path)).unwrap();
    journal[0] ^= 1;
    std::fs::write(journal_of(&path), &journal).unwrap();
    check_numbers_left_out(&path, 0);
}

#[test]
fn a_damaged_journal_that_cannot_be_copied_does_not_prevent_a_start() {
    let dir = TempDir::new();
    let (killed, starts) = killed(&dir);
    // So long that there is no name for a copy: that fails as on a full disk.
    let path = dir.file(&"m".repeat(240));
    copy(&killed, &path);
    let mut journal = std::fs::read(journal_of(&path)).unwrap();
    journal[starts[1]] ^= 0x40;
    std::fs::write(journal_of(&path), &journal).unwrap();
    let mut store = open(&path);
    assert_eq!(texts_in(&mut store), ["one"]);
    tell(&mut store, 1, 2, "later");
    drop(store);
    assert_eq!(texts_in(&mut open(&path)), ["one", "later"]);
    check_numbers_left_out(&path, 3);
}

#[test]
fn damage_in_what_the_database_has_costs_nothing_that_it_lacks() {
    let mut store = in_memory();
    register(&mut store, 2);
    let damaged = store.journal_bytes();
    tell(&mut store, 1, 2, "damaged");
    tell(&mut store, 1, 2, "settled");
    // Of a commit that was kept though it was said to have failed.
    let mut ground = store.store.clone();
    let Position { journal, .. } = ground.position().unwrap();
    ground.settle(Position { journal, record: store.log.last() }).unwrap();
    for text in ["one", "two"] {
        tell(&mut store, 1, 2, text);
    }
    let tape = store.log.medium().copy();
    tape.bytes.borrow_mut()[usize::try_from(damaged).unwrap()] ^= 0x40;
    // Twice: it is read anew when the database has lost what it held.
    let mut again = Journaled::new(ground, tape, false).unwrap();
    assert_same(&contents(&mut again), &contents(&mut store), "at the start");
    assert_eq!(again.last_seq(), store.last_seq());
}

#[test]
fn a_foreign_database_takes_the_journal_with_it() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&path);
    register(&mut store, 2);
    drop(store);
    assert!(journal_of(&path).exists());
    std::fs::write(&path, "my notes").unwrap();
    let store = open(&path);
    let moved = PathBuf::from(&*store.recovery().unwrap().moved_to);
    assert!(moved.exists() && journal_of(&moved).exists(), "{:?}", names(&dir));
    drop(store);
    // It may have been ours once.
    check_numbers_left_out(&path, 0);
}

#[test]
fn an_older_copy_of_a_database_does_not_get_what_it_has_no_place_for() {
    let mut store = in_memory();
    register(&mut store, 2);
    let old = store.store.clone();
    store.maintain(true).unwrap();
    tell(&mut store, 1, 2, "later");
    let opened = Journaled::new(
        {
            let mut old = old;
            old.drop_held().unwrap();
            old
        },
        store.log.medium().copy(),
        false,
    );
    assert!(matches!(opened, Err(Unfit::Useless(_))));
}

#[test]
fn what_is_no_journal_and_one_of_a_newer_version_are_left_as_they_are() {
    let store = MemoryStore::new;
    let notes = Tape::holding(b"my notes, longer than the head of a journal".to_vec());
    assert!(matches!(Journaled::new(store(), notes, false), Err(Unfit::Useless(_))));
    let mut newer = hex(V1);
    newer[8] = 2;
    let crc = crc::crc32c(crc::crc32c(0, &newer[8..12]), &newer[16..40]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    let tape = Tape::holding(newer.clone());
    let opened = Journaled::new(store(), tape.clone(), false);
    assert!(matches!(opened, Err(Unfit::Newer(2, 1))));
    assert_eq!(*tape.bytes.borrow(), newer);

    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    drop(open(&path));
    std::fs::write(journal_of(&path), &newer).unwrap();
    let refused = JournaledSqlite::open(&path, &Options::default()).unwrap_err().to_string();
    assert!(refused.contains("newer slm-mesh"), "{refused}");
    assert_eq!(std::fs::read(journal_of(&path)).unwrap(), newer);
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Written by version 1: two peers, a message, a broadcast to a group, what was read, state, a lock
/// and a mark of time.
const V1: &str = "
    736c6d7475726e7301000000046b36be000000000000000023b0a1c3f93056200100000000000000c30000007844
    9417010000000000000000020101010101014101810101010101010106706565722d310001010101010101010101
    0101010101010101010101010101010101010101010107756e6b6e6f776e01012f00000000000000000000000000
    0080b1a2caad6780b1a2caad67000001020202020202024202820202020202020206706565722d32000202020202
    02020202020202020202020202020202020202020202020202020207756e6b6e6f776e01012f0000000000000000
    00000000000080b1a2caad6780b1a2caad670000014e00000053d666e50200000000000000000101030100000000
    00018b5b9b5b5b5b5b5b5b5b00010101010101410181010101010101010673656e64657200000202020202024202
    8202020202020202000568656c6c6f0080b1a2caad67002b000000c6337221030000000000000001050002020202
    020242028202020202020202010000000000018b5b9b5b5b5b5b5b5b5b8ab1a2caad67005c0000003455e5bc0400
    00000000000001010103020000000000028858985858585858585800010101010101410181010101010101010673
    656e6465720306236275696c640102020202020242028202020202020202000c746f207468652067726f75700080
    b1a2caad67005d00000054ca54890500000000000000020101090764656661756c74016b0176030180b1a2caad67
    0001010c022f61000000000000000101010101014101810101010101010106686f6c6465720080b1a2caad67c0da
    a9caad6704138eb1a2caad678eb1a2caad670000000000
";

#[test]
fn a_journal_of_version_1_is_read_by_every_later_one() {
    let mut store = Journaled::new(MemoryStore::new(), Tape::holding(hex(V1)), false).unwrap();
    let page = store.inbox(&unread(inbox_of(2)), None, &mut |_| true).unwrap();
    assert_eq!(texts(&page.messages), ["to the group"]);
    assert_eq!(page.messages[0].to_group.as_deref(), Some("#build"));
    assert_eq!(store.counts().messages.total, 2);
    assert_eq!(&*store.state("default", "k").unwrap().unwrap().value, "v");
    assert_eq!(store.locks().unwrap().len(), 1);
    assert_eq!(store.last_time().unwrap().unwrap().1, Seq(4));
}
