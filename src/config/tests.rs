//! Tests of the settings as a whole.

use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The settings under these variables, with a home directory.
fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_lookup(
        |name| {
            let set = variables.iter().find(|(variable, _)| *variable == name);
            set.map(|(_, value)| value.into()).or((name == "HOME").then(|| "/home/u".into()))
        },
        None,
        || Ok("/work".into()),
    )
}

fn config(variables: &[(&str, &str)]) -> Config {
    read(variables).unwrap()
}

/// The error of one bad value; it names the variable and the value.
fn refused(variable: &str, value: &str) -> String {
    let text = read(&[(variable, value)]).unwrap_err().to_string();
    assert!(text.contains(variable), "{text}");
    assert!(text.contains(value), "{text}");
    assert!(text.contains("allowed: "), "{text}");
    text
}

fn data_dir(variables: &[(&str, &str)]) -> PathBuf {
    config(variables).paths.dir().to_owned()
}

#[test]
fn defaults_stand_when_nothing_is_set() {
    let expected = Config {
        paths: Paths::new("/home/u/.slm-mesh".into()),
        port: 7899,
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        asked: Asked::Nothing,
        ws_port: 7900,
        shared_secret: None,
        discovery: true,
        idle_timeout_ms: Some(60_000),
        idle_timeout_set: false,
        heartbeat_ms: 15_000,
        stale_ms: 30_000,
        dead_ms: 60_000,
        lock_ttl_min: 10,
        rate_limit: Some(100),
        wake_limit: Some(12),
        connection_mib: 64,
        name: None,
        durability: Durability::Normal,
        auto_lock: true,
        hook_ms: None,
        notify: None,
        memory: None,
        log: LogLevel::Info,
    };
    assert_eq!(config(&[]), expected);
    let all = [
        DATA_DIR,
        PORT,
        HOST,
        ROLE,
        WS_PORT,
        SHARED_SECRET,
        DISCOVERY,
        IDLE_TIMEOUT,
        HEARTBEAT_MS,
        STALE_MS,
        DEAD_MS,
        LOCK_TTL_MIN,
        RATE_LIMIT,
        WAKE_LIMIT,
        CONNECTION_MIB,
        NAME,
        DURABILITY,
        AUTO_LOCK,
        HOOK_MS,
        NOTIFY,
        MEMORY,
        LOG,
    ];
    let empty: Vec<(&str, &str)> = all.iter().map(|variable| (*variable, "")).collect();
    assert_eq!(config(&empty), expected);
}

#[test]
fn every_variable_is_read() {
    let read = config(&[
        (DATA_DIR, "/d"),
        (PORT, "8000"),
        (HOST, "127.1.2.3"),
        (ROLE, "broker"),
        (WS_PORT, "8001"),
        (SHARED_SECRET, SECRET),
        (DISCOVERY, "false"),
        (IDLE_TIMEOUT, "1000"),
        (HEARTBEAT_MS, "100"),
        (STALE_MS, "200"),
        (DEAD_MS, "300"),
        (LOCK_TTL_MIN, "20"),
        (RATE_LIMIT, "7"),
        (WAKE_LIMIT, "8"),
        (CONNECTION_MIB, "100"),
        (NAME, "reviewer"),
        (DURABILITY, "full"),
        (AUTO_LOCK, "0"),
        (HOOK_MS, "100"),
        (NOTIFY, "/bin/tell"),
        (MEMORY, "superlocalmemory"),
        (LOG, "debug"),
    ]);
    assert_eq!(
        read,
        Config {
            paths: Paths::new("/d".into()),
            port: 8000,
            host: "127.1.2.3".parse().unwrap(),
            asked: Asked::Broker,
            ws_port: 8001,
            shared_secret: Secret::parse(SECRET),
            discovery: false,
            idle_timeout_ms: Some(1000),
            idle_timeout_set: true,
            heartbeat_ms: 100,
            stale_ms: 200,
            dead_ms: 300,
            lock_ttl_min: 20,
            rate_limit: Some(7),
            wake_limit: Some(8),
            connection_mib: 100,
            name: Some("reviewer".to_owned()),
            durability: Durability::Full,
            auto_lock: false,
            hook_ms: Some(100),
            notify: Some("/bin/tell".to_owned()),
            memory: Some("superlocalmemory".to_owned()),
            log: LogLevel::Debug,
        }
    );
}

#[test]
fn numbers_have_bounds() {
    for (variable, good, bad) in [
        (PORT, ["0", "65535"], ["65536", "-1"]),
        (WS_PORT, ["1", "65535"], ["0", "65536"]),
        (IDLE_TIMEOUT, ["0", "86400000"], ["9", "86400001"]),
        (IDLE_TIMEOUT, ["10", "00"], ["1", "99999999999999999999"]),
        (HEARTBEAT_MS, ["10", "29999"], ["9", "86400001"]),
        (STALE_MS, ["15001", "59999"], ["9", "86400001"]),
        (DEAD_MS, ["30001", "86400000"], ["9", "86400001"]),
        (LOCK_TTL_MIN, ["1", "1440"], ["0", "1441"]),
        (RATE_LIMIT, ["0", "1000000"], ["1000001", "4294967296"]),
        (WAKE_LIMIT, ["0", "200"], ["201", "-1"]),
        (CONNECTION_MIB, ["16", "4096"], ["15", "4097"]),
        (HOOK_MS, ["10", "60000"], ["9", "60001"]),
    ] {
        for value in good {
            assert!(read(&[(variable, value)]).is_ok(), "{variable}={value}");
        }
        for value in bad {
            assert!(refused(variable, value).contains("a whole number from"));
        }
        for value in ["x", "1x", " 1", "1 ", "+20", "1.5", "1e3", "0x10", "true"] {
            refused(variable, value);
        }
    }
    assert_eq!(
        refused(PORT, "abc"),
        "SLM_MESH_PORT is \"abc\"; allowed: a whole number from 0 to 65535 (0: any free port)"
    );
    assert_eq!(config(&[(IDLE_TIMEOUT, "0")]).idle_timeout_ms, None);
    assert_eq!(config(&[(IDLE_TIMEOUT, "10")]).idle_timeout_ms, Some(10));
    assert_eq!(config(&[(RATE_LIMIT, "0")]).rate_limit, None);
    assert_eq!(config(&[(RATE_LIMIT, "1")]).rate_limit, Some(1));
    assert_eq!(config(&[(WAKE_LIMIT, "0")]).wake_limit, None);
}

#[test]
fn heartbeat_stale_and_dead_are_in_this_order() {
    assert!(read(&[(HEARTBEAT_MS, "10"), (STALE_MS, "11"), (DEAD_MS, "12")]).is_ok());
    for bad in [
        [(HEARTBEAT_MS, "11"), (STALE_MS, "11"), (DEAD_MS, "12")],
        [(HEARTBEAT_MS, "10"), (STALE_MS, "12"), (DEAD_MS, "12")],
        [(HEARTBEAT_MS, "12"), (STALE_MS, "11"), (DEAD_MS, "13")],
    ] {
        let text = read(&bad).unwrap_err().to_string();
        for (variable, value) in bad {
            assert!(text.contains(&format!("{variable} is {value}")), "{text}");
        }
    }
    // One that is set against a default.
    assert_eq!(
        read(&[(STALE_MS, "60000")]).unwrap_err().to_string(),
        "SLM_MESH_HEARTBEAT_MS is 15000, SLM_MESH_STALE_MS is 60000, \
         SLM_MESH_DEAD_MS is 60000: each must be greater than the one before it"
    );
}

#[test]
fn words_are_taken_as_they_are_written() {
    for (variable, good, bad) in [
        (ROLE, &["auto", "broker"][..], &["Auto", "server", "broker "][..]),
        (DURABILITY, &["normal", "full"], &["none", "FULL"]),
        (LOG, &["error", "warn", "info", "debug"], &["warning", "trace", "INFO"]),
        (DISCOVERY, &["true", "off", "YES", "0"], &["2", "ja", "tru"]),
        (AUTO_LOCK, &["1", "no", "On", "False"], &["01", "y", "none"]),
    ] {
        for value in good {
            assert!(read(&[(variable, value)]).is_ok(), "{variable}={value}");
        }
        for value in bad {
            assert!(refused(variable, value).contains(good[0]));
        }
    }
    assert!(LogLevel::Error < LogLevel::Warn && LogLevel::Info < LogLevel::Debug);
}

#[test]
fn local_clients_are_served_on_the_loopback_whatever_the_host() {
    for good in ["127.0.0.1", "127.255.255.255", "::1", "localhost", "LocalHost"] {
        assert_eq!(config(&[(HOST, good)]).asked, Asked::Nothing, "{good}");
    }
    for far in ["0.0.0.0", "::", "128.0.0.1", "126.255.255.255", "10.0.0.1", "hub.example"] {
        let config = config(&[(HOST, far)]);
        assert!(config.host.is_loopback() && config.asked != Asked::Nothing, "{far}");
    }
    for bad in ["127.0.0.1:80", "a b", "[::]", "http://x"] {
        refused(HOST, bad);
    }
    assert_eq!(config(&[(ROLE, "client")]).asked, Asked::Client { hub: None });
}

#[test]
fn ports_to_try_go_around_the_websocket_port() {
    let ports =
        |port: &str, ws_port: &str| config(&[(PORT, port), (WS_PORT, ws_port)]).port_candidates();
    assert_eq!(config(&[]).port_candidates()[..3], [7899, 7901, 7902]);
    assert_eq!(config(&[]).port_candidates().len(), 10);
    assert_eq!(config(&[]).port_candidates().last(), Some(&7909));
    assert_eq!(ports("8000", "9000"), (8000..=8010).collect::<Vec<u16>>());
    assert_eq!(ports("8000", "8010"), (8000..=8009).collect::<Vec<u16>>());
    assert_eq!(ports("8000", "8011").len(), 11);
    assert_eq!(ports("65535", "9000"), [65535]);
    assert_eq!(ports("65534", "9000"), [65534, 65535]);
    assert_eq!(ports("65525", "9000").len(), 11);
    assert_eq!(ports("0", "9000"), [0]);
    // What was asked for is tried, even where a default stands in its way.
    assert_eq!(config(&[(PORT, "7900")]).port_candidates()[..2], [7900, 7901]);
    let text = read(&[(PORT, "8000"), (WS_PORT, "8000")]).unwrap_err().to_string();
    assert_eq!(text, "SLM_MESH_PORT is 8000, SLM_MESH_WS_PORT is 8000: they must differ");
}

#[test]
fn name_is_a_name_or_automatic() {
    assert_eq!(config(&[(NAME, "auto")]).name, None);
    assert_eq!(config(&[(NAME, "A.b_c-9")]).name.as_deref(), Some("A.b_c-9"));
    assert!(read(&[(NAME, &"a".repeat(64))]).is_ok());
    assert!(read(&[(NAME, &"a".repeat(65))]).is_err());
    for bad in ["all", "cli", "repo", "directory", "AUTO", "a b", "a/b"] {
        refused(NAME, bad);
    }
    assert!(refused(NAME, "0b6e8b5c-5a1e-4a52-9d4e-2d3c7f6a8b90").contains("the form of a UUID"));
}

#[test]
fn data_dir_is_an_absolute_path() {
    for (value, dir) in [
        ("/data", "/data"),
        ("/data/", "/data"),
        ("/data//x/./y", "/data/x/y"),
        ("/data/../x", "/data/../x"),
        ("data", "/work/data"),
        ("./data", "/work/data"),
        ("../data", "/work/../data"),
        ("./~x", "/work/~x"),
        (".", "/work"),
        ("/", "/"),
    ] {
        assert_eq!(data_dir(&[(DATA_DIR, value)]).to_str(), Some(dir), "{value}");
    }
    assert_eq!(data_dir(&[("HOME", "/root/")]).to_str(), Some("/root/.slm-mesh"));
    for bad in ["~", "~/x", "~user"] {
        assert!(refused(DATA_DIR, bad).contains("with ~ written out"));
    }
    for bad in ["home", "./home", "~", "."] {
        let error = read(&[("HOME", bad)]).unwrap_err().to_string();
        assert!(error.starts_with("HOME is") && error.ends_with("an absolute path"), "{error}");
    }
}

#[test]
fn data_dir_may_have_any_bytes_and_no_other_value_may() {
    let odd = || OsString::from_vec(vec![b'/', 0xff]);
    let only = |variable: &'static str| {
        Config::from_lookup(
            move |name| {
                (name == variable)
                    .then(odd)
                    .or(Some("/home/u".into()))
                    .filter(|_| name == variable || name == "HOME")
            },
            None,
            || Ok("/work".into()),
        )
    };
    assert_eq!(only(DATA_DIR).unwrap().paths.dir().as_os_str(), odd());
    for variable in [PORT, HOST, ROLE, SHARED_SECRET, DISCOVERY, NAME, LOG] {
        assert!(only(variable).is_err(), "{variable}");
    }
}

#[test]
fn data_dir_argument_goes_before_the_variable() {
    let with = |argument: &str| {
        Config::from_lookup(
            |name| (name == DATA_DIR).then(|| "/variable".into()),
            Some(OsStr::new(argument)),
            || Ok("/work".into()),
        )
    };
    assert_eq!(with("/argument").unwrap().paths.dir(), Path::new("/argument"));
    assert_eq!(with("argument").unwrap().paths.dir(), Path::new("/work/argument"));
    assert!(with("").unwrap_err().to_string().starts_with("--data-dir is \"\"; allowed: "));
}

#[test]
fn home_is_needed_only_without_a_data_dir() {
    let none = |_: &str| None;
    let lost = || Err(io::ErrorKind::NotFound.into());
    let text = Config::from_lookup(none, None, lost).unwrap_err().to_string();
    assert!(text.contains("HOME") && text.contains(DATA_DIR), "{text}");
    assert!(Config::from_lookup(|_| Some(OsString::new()), None, lost).is_err());
    // An absolute path needs no working directory, a relative one does.
    assert!(Config::from_lookup(none, Some(OsStr::new("/d")), lost).is_ok());
    let text = Config::from_lookup(none, Some(OsStr::new("d")), lost).unwrap_err().to_string();
    assert!(text.contains("--data-dir") && text.contains("\"d\""), "{text}");
}

#[test]
fn errors_show_values_quoted_and_cut() {
    assert!(refused_raw(LOG, "a\nb\u{1b}[1m").contains(r#""a\nb\u{1b}[1m""#));
    assert!(refused_raw(LOG, &"x".repeat(80)).contains(&format!("{:?};", "x".repeat(80))));
    assert!(refused_raw(LOG, &"x".repeat(81)).contains(&format!("{:?}...;", "x".repeat(80))));
}

fn refused_raw(variable: &str, value: &str) -> String {
    read(&[(variable, value)]).unwrap_err().to_string()
}
