//! Opening: what is there, what becomes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::files::tests::make_pipe;
use crate::model::Lock;
use crate::store::sqlite::schema::{APPLICATION_ID, MIGRATIONS, VERSION};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(dir: &TempDir) -> Vec<String> {
    let files = fs::read_dir(dir.file("")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Where the former database is now.
fn aside(dir: &TempDir, word: &str) -> PathBuf {
    let start = format!("mesh.db.{word}-");
    let found: Vec<String> = names(dir)
        .into_iter()
        .filter(|name| name.starts_with(&start) && name.ends_with('Z'))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    dir.file(&found[0])
}

/// Opens what is not usable: it is now aside, as it was.
fn check_moved(dir: &TempDir, word: &str) {
    let path = dir.file("mesh.db");
    let (before, log) = (fs::read(&path).unwrap(), fs::read(dir.file("mesh.db-wal")));
    let store = open(&path);
    let aside = aside(dir, word);
    assert_eq!(fs::read(&aside).unwrap(), before);
    if let Ok(log) = log {
        let moved = PathBuf::from(format!("{}-wal", aside.display()));
        assert_eq!((fs::read(&moved).unwrap(), mode(&moved)), (log, 0o600));
    }
    assert_eq!(mode(&aside), 0o600);
    let known = store.recovery().unwrap();
    assert_eq!(*known.moved_to, *aside.to_string_lossy());
    // For as long as it is there.
    drop(store);
    assert_eq!(open(&path).recovery(), Some(known));
    for name in names(dir).into_iter().filter(|name| name.starts_with("mesh.db.")) {
        fs::remove_file(dir.file(&name)).unwrap();
    }
    let mut store = open(&path);
    assert_eq!(store.recovery(), None);
    let sound = store.counts() == Counts::default();
    if sound {
        fill(&mut store);
    }
    assert_eq!(store.integrity().unwrap(), None);
}

#[test]
fn a_new_database_is_private() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let mut store = open(&path);
    assert_eq!(store.recovery(), None);
    fill(&mut store);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&dir.file("mesh.db-wal")), 0o600);
    assert_eq!(names(&dir), ["mesh.db", "mesh.db-wal"]);
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut store = open(&path);
    turn(&mut store, |store| store.put_peer(&record(1)).unwrap());
    assert_eq!((mode(&path), mode(&dir.file("mesh.db-wal"))), (0o600, 0o600));
}

#[test]
fn an_empty_file_and_a_half_made_one_are_no_databases() {
    let dir = TempDir::new();
    fs::write(dir.file("mesh.db"), "").unwrap();
    fs::write(dir.file("mesh.db.new"), "half").unwrap();
    let mut store = open(&dir.file("mesh.db"));
    assert_eq!(store.recovery(), None);
    fill(&mut store);
    drop(store);
    assert_eq!(names(&dir), ["mesh.db"]);
}

#[test]
fn another_programs_database_is_moved_aside() {
    let dir = TempDir::new();
    make_foreign(&dir.file("mesh.db"));
    fs::write(dir.file("mesh.db-wal"), "its log").unwrap();
    check_moved(&dir, "foreign");
}

#[test]
fn what_is_no_database_is_moved_aside() {
    let dir = TempDir::new();
    fs::write(dir.file("mesh.db"), "my notes").unwrap();
    check_moved(&dir, "foreign");
}

#[test]
fn a_database_that_was_cut_off_is_moved_aside() {
    for length in [16, 99, 100, 5000] {
        let dir = TempDir::new();
        drop(open(&dir.file("mesh.db")));
        let file = fs::OpenOptions::new().write(true).open(dir.file("mesh.db")).unwrap();
        file.set_len(length).unwrap();
        check_moved(&dir, "damaged");
    }
}

#[test]
fn a_damaged_database_is_moved_aside() {
    // The schema's page, and the root pages of tables.
    for start in [100, 2048] {
        let dir = TempDir::new();
        let path = dir.file("mesh.db");
        let mut store = open(&path);
        fill(&mut store);
        drop(store);
        let mut bytes = fs::read(&path).unwrap();
        bytes[start..].fill(0xff);
        fs::write(&path, bytes).unwrap();
        check_moved(&dir, "damaged");
    }
}

#[test]
fn a_database_without_a_table_is_moved_aside() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    drop(open(&path));
    Connection::open(&path).unwrap().execute_batch("DROP TABLE locks").unwrap();
    check_moved(&dir, "damaged");
}

#[test]
fn a_log_without_its_database_is_moved_aside() {
    let dir = TempDir::new();
    fs::write(dir.file("mesh.db-wal"), "left over").unwrap();
    let store = open(&dir.file("mesh.db"));
    assert!(store.recovery().unwrap().moved_to.contains("mesh.db.damaged-"));
    let moved = names(&dir).into_iter().find(|name| name.ends_with("Z-wal")).unwrap();
    assert_eq!(fs::read(dir.file(&moved)).unwrap(), b"left over");
}

#[test]
fn pipes_and_links_are_waited_for_by_nobody() {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let dir = TempDir::new();
        let path = dir.file("mesh.db");
        if !suffix.is_empty() {
            fill(&mut open(&path));
        }
        let odd = dir.file(&format!("mesh.db{suffix}"));
        make_pipe(&odd);
        let mut store = open(&path);
        if suffix.is_empty() {
            assert_eq!(&*store.recovery().unwrap().reason, "no regular file");
            fill(&mut store);
        }
        check_filled(&mut store);
        let aside = format!("mesh.db{suffix}.foreign-");
        assert!(names(&dir).iter().any(|name| name.starts_with(&aside)), "{:?}", names(&dir));
    }
}

#[test]
fn nothing_aside_is_overwritten() {
    let dir = TempDir::new();
    for n in 0..5 {
        fs::write(dir.file("mesh.db"), format!("note {n}")).unwrap();
        drop(open(&dir.file("mesh.db")));
    }
    let notes = names(&dir).into_iter().filter(|name| name.starts_with("mesh.db.foreign-"));
    let mut notes: Vec<String> =
        notes.map(|name| fs::read_to_string(dir.file(&name)).unwrap()).collect();
    notes.sort();
    assert_eq!(notes, ["note 0", "note 1", "note 2", "note 3", "note 4"]);
}

#[test]
fn a_newer_database_is_left_alone() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    drop(open(&path));
    let newer = |sql: &str| {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
        connection
    };
    drop(newer("PRAGMA user_version = 99"));
    let before = fs::read(&path).unwrap();
    let refused = SqliteStore::open(&path, &Options::default());
    assert!(matches!(
        refused,
        Err(OpenError::Newer { found: 99, known, .. }) if known as usize == VERSION
    ));
    assert!(refused.unwrap_err().to_string().contains("newer"));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names(&dir), ["mesh.db"]);

    // The version is only in the log so far.
    drop(newer(&format!("PRAGMA user_version = {VERSION}")));
    let connection = newer("PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 99");
    let copied = copy(&dir, "mesh.db", "copy.db");
    drop(connection);
    let before = fs::read(&copied).unwrap();
    let log = fs::read(dir.file("copy.db-wal")).unwrap();
    let refused = SqliteStore::open(&copied, &Options::default());
    assert!(matches!(refused, Err(OpenError::Newer { found: 99, .. })), "{refused:?}");
    assert_eq!(fs::read(&copied).unwrap(), before);
    assert_eq!(fs::read(dir.file("copy.db-wal")).unwrap(), log);
}

#[test]
fn what_cannot_be_opened_is_an_error() {
    let dir = TempDir::new();
    fs::create_dir(dir.file("mesh.db")).unwrap();
    let refused = SqliteStore::open(&dir.file("mesh.db"), &Options::default());
    assert!(matches!(refused, Err(OpenError::Failed(_))));
    let refused = SqliteStore::open(&dir.file("missing/mesh.db"), &Options::default());
    assert!(matches!(refused, Err(OpenError::Failed(_))));

    let open_elsewhere = open(&dir.file("other.db"));
    let refused = SqliteStore::open(&dir.file("other.db"), &Options::default());
    assert!(matches!(refused, Err(OpenError::Failed(_))));
    drop(open_elsewhere);
    assert_eq!(names(&dir), ["mesh.db", "other.db"]);
}

#[test]
fn the_locks_of_an_older_database_are_kept() {
    let dir = TempDir::new();
    let path = dir.file("mesh.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = 4096; {} PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = 1;
             INSERT INTO locks VALUES ('/b', 'cli', 'cli', NULL, 1, 9, 5),
                                      ('/a', 'bot', 'bot', 'why', 2, 8, 7);",
            MIGRATIONS[0]
        ))
        .unwrap();
    drop(connection);
    let mut store = open(&path);
    assert_eq!(store.recovery(), None);
    let first = Lock {
        holder_name: "cli".into(),
        locked_at: Timestamp(1),
        expires_at: MeshTime(9),
        ..lock("/b", Party::Cli, Seq(5))
    };
    let second = Lock {
        holder_name: "bot".into(),
        reason: Some("why".into()),
        locked_at: Timestamp(2),
        expires_at: MeshTime(8),
        ..lock("/a", Party::Label("bot".into()), Seq(7))
    };
    assert_eq!(store.locks().unwrap(), [first, second]);
    assert_eq!(store.counts().locks, 2);
}
