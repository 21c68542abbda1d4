//! Settings: environment to [`Config`], read and checked once, at the start of the process.
//!
//! Nothing falls back silently: a value that does not parse is an error that names the variable,
//! the value and what is allowed. A variable that is set but empty counts as not set, as in a shell
//! that exports it without a value. No file is touched here; [`crate::data_dir`] does that.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::limits;
use crate::names;
use crate::paths::Paths;

/// The variable of [`Config::paths`].
pub const DATA_DIR: &str = "SLM_MESH_DATA_DIR";
/// The variable of [`Config::port`].
pub const PORT: &str = "SLM_MESH_PORT";
/// The variable of [`Config::host`].
pub const HOST: &str = "SLM_MESH_HOST";
/// The variable of [`Config::role`].
pub const ROLE: &str = "SLM_MESH_ROLE";
/// The variable of [`Config::ws_port`].
pub const WS_PORT: &str = "SLM_MESH_WS_PORT";
/// The variable of [`Config::shared_secret`].
pub const SHARED_SECRET: &str = "SLM_MESH_SHARED_SECRET";
/// The variable of [`Config::discovery`].
pub const DISCOVERY: &str = "SLM_MESH_DISCOVERY";
/// The variable of [`Config::idle_timeout_ms`].
pub const IDLE_TIMEOUT: &str = "SLM_MESH_IDLE_TIMEOUT";
/// The variable of [`Config::heartbeat_ms`].
pub const HEARTBEAT_MS: &str = "SLM_MESH_HEARTBEAT_MS";
/// The variable of [`Config::stale_ms`].
pub const STALE_MS: &str = "SLM_MESH_STALE_MS";
/// The variable of [`Config::dead_ms`].
pub const DEAD_MS: &str = "SLM_MESH_DEAD_MS";
/// The variable of [`Config::lock_ttl_min`].
pub const LOCK_TTL_MIN: &str = "SLM_MESH_LOCK_TTL_MIN";
/// The variable of [`Config::connection_mib`].
pub const CONNECTION_MIB: &str = "SLM_MESH_CONNECTION_MIB";
/// The variable of [`Config::rate_limit`].
pub const RATE_LIMIT: &str = "SLM_MESH_RATE_LIMIT";
/// The variable of [`Config::wake_limit`].
pub const WAKE_LIMIT: &str = "SLM_MESH_WAKE_LIMIT";
/// The variable of [`Config::name`].
pub const NAME: &str = "SLM_MESH_NAME";
/// The variable of [`Config::durability`].
pub const DURABILITY: &str = "SLM_MESH_DURABILITY";
/// The variable of [`Config::auto_lock`].
pub const AUTO_LOCK: &str = "SLM_MESH_AUTO_LOCK";
/// The variable of [`Config::hook_ms`].
pub const HOOK_MS: &str = "SLM_MESH_HOOK_MS";
/// The variable of [`Config::log`].
pub const LOG: &str = "SLM_MESH_LOG";

/// The port of the broker when none is set.
pub const PORT_DEFAULT: u16 = 7899;
/// The WebSocket port when none is set.
pub const WS_PORT_DEFAULT: u16 = 7900;

/// All settings of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The data directory and the files in it. Default: `.slm-mesh` in the home directory.
    pub paths: Paths,
    /// Port of the broker; 0: any free port. See [`Config::port_candidates`].
    pub port: u16,
    /// Address the broker listens on and is called at; a loopback address in this version.
    pub host: IpAddr,
    /// What this process may be.
    pub role: Role,
    /// Port for remote peers. Nothing listens there in this version, but the port is left free.
    pub ws_port: u16,
    /// What remote peers must know. Without effect in this version.
    pub shared_secret: Option<Secret>,
    /// Whether brokers are announced and looked for by mDNS. Without effect in this version.
    pub discovery: bool,
    /// Time without peers before the broker stops, ms; `None`: it never does.
    pub idle_timeout_ms: Option<u32>,
    /// Interval of heartbeats, ms. Less than [`Config::stale_ms`].
    pub heartbeat_ms: u32,
    /// Time without heartbeat after which a peer is stale, ms. Less than [`Config::dead_ms`].
    pub stale_ms: u32,
    /// Time without heartbeat and without a known process after which a peer is removed, ms.
    pub dead_ms: u32,
    /// How long a lock lasts that did not ask for a time, minutes.
    pub lock_ttl_min: u32,
    /// Requests a peer may make in [`limits::RATE_WINDOW`]; `None`: any number.
    pub rate_limit: Option<u32>,
    /// How often one peer may wake another in [`limits::WAKE_WINDOW`] before what it sends is told
    /// together; `None`: any number of times.
    pub wake_limit: Option<u32>,
    /// What all HTTP connections to the broker together may have buffered, MiB.
    pub connection_mib: u32,
    /// The name this session asks for; `None`: an automatic one.
    pub name: Option<String>,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// Whether the lock gate takes a free file for the agent that is about to edit it.
    pub auto_lock: bool,
    /// How long a hook may take once it has its input, ms; `None`: as long as each kind of hook has
    /// by itself.
    pub hook_ms: Option<u32>,
    /// The least severe lines that are logged.
    pub log: LogLevel,
}

/// What a process may be (`SLM_MESH_ROLE`). `client` is refused in this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Decided from the host; in this version as [`Role::Broker`].
    Auto,
    /// Finds the broker of this machine and starts it when there is none.
    Broker,
}

/// What an acknowledged write survives (`SLM_MESH_DURABILITY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the program.
    Normal,
    /// A crash of the machine too: one fsync per turn.
    Full,
}

/// Severity of a log line (`SLM_MESH_LOG`), most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that someone should look at.
    Error,
    /// Something was wrong and has been dealt with.
    Warn,
    /// What happens rarely and matters: starts and stops, peers that come and go.
    Info,
    /// Everything else.
    Debug,
}

/// A text that is never shown: its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Config {
    /// Reads the environment of this process. `data_dir` (the argument of `--data-dir`) goes before
    /// `SLM_MESH_DATA_DIR`.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn from_env(data_dir: Option<&OsStr>) -> Result<Self, ConfigError> {
        Self::from_lookup(|variable| std::env::var_os(variable), data_dir, std::env::current_dir)
    }

    /// As [`Config::from_env`], from any environment. `current_dir` is called only when the data
    /// directory is given by a relative path: a process may have lost its working directory.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<OsString>,
        data_dir: Option<&OsStr>,
        current_dir: impl FnOnce() -> io::Result<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let env = Env { lookup };
        let interval = limits::INTERVAL_MS_MIN..=limits::INTERVAL_MS_MAX;
        let config = Self {
            paths: Paths::new(data_dir_of(&env, data_dir, current_dir)?),
            port: env.number(PORT, 0..=u16::MAX, " (0: any free port)")?.unwrap_or(PORT_DEFAULT),
            host: host_of(&env)?,
            role: role_of(&env)?,
            ws_port: env.number(WS_PORT, 1..=u16::MAX, "")?.unwrap_or(WS_PORT_DEFAULT),
            shared_secret: shared_secret_of(&env)?,
            discovery: env.boolean(DISCOVERY, true)?,
            idle_timeout_ms: env.number_or_off(IDLE_TIMEOUT, 60_000, interval.clone(), " ms")?,
            heartbeat_ms: env.number(HEARTBEAT_MS, interval.clone(), " ms")?.unwrap_or(15_000),
            stale_ms: env.number(STALE_MS, interval.clone(), " ms")?.unwrap_or(30_000),
            dead_ms: env.number(DEAD_MS, interval, " ms")?.unwrap_or(60_000),
            lock_ttl_min: env
                .number(LOCK_TTL_MIN, 1..=limits::LOCK_TTL_MINUTES_MAX, " minutes")?
                .unwrap_or(10),
            rate_limit: env.number_or_off(
                RATE_LIMIT,
                100,
                1..=limits::RATE_LIMIT_MAX,
                " requests in 10 s",
            )?,
            wake_limit: env.number_or_off(
                WAKE_LIMIT,
                12,
                1..=limits::WAKE_LIMIT_MAX,
                " wakes in 10 minutes",
            )?,
            connection_mib: env
                .number(
                    CONNECTION_MIB,
                    limits::CONNECTION_MIB_MIN..=limits::CONNECTION_MIB_MAX,
                    " MiB",
                )?
                .unwrap_or(limits::CONNECTION_MIB_DEFAULT),
            name: name_of(&env)?,
            durability: env.word(
                DURABILITY,
                Durability::Normal,
                &[("normal", Durability::Normal), ("full", Durability::Full)],
            )?,
            auto_lock: env.boolean(AUTO_LOCK, true)?,
            hook_ms: env.number(HOOK_MS, limits::INTERVAL_MS_MIN..=limits::HOOK_MS_MAX, " ms")?,
            log: env.word(
                LOG,
                LogLevel::Info,
                &[
                    ("error", LogLevel::Error),
                    ("warn", LogLevel::Warn),
                    ("info", LogLevel::Info),
                    ("debug", LogLevel::Debug),
                ],
            )?,
        };
        config.check_order()?;
        if config.port == config.ws_port && env.get(PORT).is_some() && env.get(WS_PORT).is_some() {
            return Err(ConfigError::Conflict {
                settings: vec![(PORT, config.port.into()), (WS_PORT, config.ws_port.into())],
                rule: "they must differ",
            });
        }
        Ok(config)
    }

    /// The ports a broker tries, in this order: the one that is set, then the next ten, without
    /// [`Config::ws_port`] and without what lies beyond 65535. Only 0 if any port will do.
    #[must_use]
    pub fn port_candidates(&self) -> Vec<u16> {
        let mut ports = vec![self.port];
        if self.port != 0 {
            let after = (1..=limits::PORTS_AFTER).map_while(|step| self.port.checked_add(step));
            ports.extend(after.filter(|&port| port != self.ws_port));
        }
        ports
    }

    /// A peer has to be able to send a heartbeat before it is stale, and to be stale before it is
    /// dead.
    fn check_order(&self) -> Result<(), ConfigError> {
        if self.heartbeat_ms < self.stale_ms && self.stale_ms < self.dead_ms {
            return Ok(());
        }
        Err(ConfigError::Conflict {
            settings: vec![
                (HEARTBEAT_MS, self.heartbeat_ms),
                (STALE_MS, self.stale_ms),
                (DEAD_MS, self.dead_ms),
            ],
            rule: "each must be greater than the one before it",
        })
    }
}

/// Why the settings cannot be used. The text names the variable, the value and what is allowed.
#[derive(Debug)]
pub enum ConfigError {
    /// A value that is none of those allowed.
    Invalid {
        /// The variable, or `--data-dir`.
        variable: &'static str,
        /// The value as shown: quoted, cut, and hidden if it is secret.
        value: String,
        /// What would have been taken.
        allowed: String,
    },
    /// A value that asks for what this version does not have.
    NotInThisVersion {
        /// The variable.
        variable: &'static str,
        /// The value as shown.
        value: String,
        /// What this version takes.
        allowed: &'static str,
    },
    /// Values that are good each alone and not together.
    Conflict {
        /// The variables with the values in force, defaults included.
        settings: Vec<(&'static str, u32)>,
        /// The rule they break.
        rule: &'static str,
    },
    /// Neither a data directory is set nor a home directory to put one in.
    NoHome,
    /// The data directory is a relative path and the working directory is not to be had.
    NoWorkingDirectory {
        /// The variable, or `--data-dir`.
        variable: &'static str,
        /// The relative path, as shown.
        value: String,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { variable, value, allowed } => {
                write!(f, "{variable} is {value}; allowed: {allowed}")
            }
            Self::NotInThisVersion { variable, value, allowed } => {
                write!(f, "{variable} is {value}, which is not in this version; allowed: {allowed}")
            }
            Self::Conflict { settings, rule } => {
                for (i, (variable, value)) in settings.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{variable} is {value}")?;
                }
                write!(f, ": {rule}")
            }
            Self::NoHome => {
                write!(
                    f,
                    "HOME is not set, so there is no place for the data; set HOME or {DATA_DIR}"
                )
            }
            Self::NoWorkingDirectory { variable, value, source } => write!(
                f,
                "{variable} is {value}, a relative path, and the working directory cannot be \
                 read ({source}); allowed: an absolute path"
            ),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoWorkingDirectory { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The words for yes and no.
const BOOLEANS: [(&str, bool); 8] = [
    ("true", true),
    ("false", false),
    ("on", true),
    ("off", false),
    ("yes", true),
    ("no", false),
    ("1", true),
    ("0", false),
];

/// The environment, and how values are taken from it.
struct Env<L> {
    lookup: L,
}

impl<L: Fn(&str) -> Option<OsString>> Env<L> {
    /// The value of `variable`, if it is set and not empty.
    fn get(&self, variable: &str) -> Option<OsString> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    /// A whole number in `range`. Digits only: no sign, no space.
    fn number<T>(
        &self,
        variable: &'static str,
        range: std::ops::RangeInclusive<T>,
        unit: &str,
    ) -> Result<Option<T>, ConfigError>
    where
        T: std::str::FromStr + PartialOrd + fmt::Display,
    {
        let Some(value) = self.get(variable) else { return Ok(None) };
        let number = parse_number(&value).filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (min, max) = (range.start(), range.end());
            invalid(variable, &value, format!("a whole number from {min} to {max}{unit}"))
        })
    }

    /// A number in `range`, or 0 for `None`.
    fn number_or_off(
        &self,
        variable: &'static str,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
        unit: &str,
    ) -> Result<Option<u32>, ConfigError> {
        if self.get(variable).is_some_and(|value| parse_number(&value) == Some(0_u32)) {
            return Ok(None);
        }
        let unit = format!("{unit}, or 0 for no limit");
        Ok(Some(self.number(variable, range, &unit)?.unwrap_or(default)))
    }

    /// Yes or no.
    fn boolean(&self, variable: &'static str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.get(variable) else { return Ok(default) };
        let known = BOOLEANS.iter().find(|(word, _)| value.eq_ignore_ascii_case(word));
        known.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = BOOLEANS.iter().map(|(word, _)| *word).collect();
            invalid(variable, &value, words.join(", "))
        })
    }

    /// One of a few words.
    fn word<T: Copy>(
        &self,
        variable: &'static str,
        default: T,
        words: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let Some(value) = self.get(variable) else { return Ok(default) };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| value == *word) {
            return Ok(*meaning);
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Err(invalid(variable, &value, words.join(", ")))
    }
}

fn parse_number<T: std::str::FromStr>(value: &OsStr) -> Option<T> {
    let text = value.to_str()?;
    // `parse` would take a plus sign too.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn data_dir_of<L: Fn(&str) -> Option<OsString>>(
    env: &Env<L>,
    argument: Option<&OsStr>,
    current_dir: impl FnOnce() -> io::Result<PathBuf>,
) -> Result<PathBuf, ConfigError> {
    let (variable, path) = if let Some(argument) = argument {
        ("--data-dir", PathBuf::from(argument))
    } else if let Some(value) = env.get(DATA_DIR) {
        (DATA_DIR, PathBuf::from(value))
    } else {
        let home = env.get("HOME").ok_or(ConfigError::NoHome)?;
        if !Path::new(&home).is_absolute() {
            // It would be another mesh in each directory.
            return Err(invalid("HOME", &home, "an absolute path".to_owned()));
        }
        ("HOME", Path::new(&home).join(".slm-mesh"))
    };
    let first = path.components().next();
    // A shell expands `~`, a configuration file of an agent does not; a directory of that name in
    // the project is not what anyone wants.
    let tilde = first.is_some_and(|part| part.as_os_str().as_encoded_bytes().starts_with(b"~"));
    if first.is_none() || tilde {
        let allowed = "a path, with ~ written out (an absolute one is best)".to_owned();
        return Err(invalid(variable, path.as_os_str(), allowed));
    }
    let path = if path.is_absolute() {
        path
    } else {
        let current = current_dir().map_err(|source| ConfigError::NoWorkingDirectory {
            variable,
            value: shown(path.as_os_str()),
            source,
        })?;
        current.join(path)
    };
    // Taken apart and put together again, a path has no `.`, `//` or final `/` in it. `..` stays:
    // what it means depends on symbolic links.
    Ok(path.components().collect())
}

fn host_of<L: Fn(&str) -> Option<OsString>>(env: &Env<L>) -> Result<IpAddr, ConfigError> {
    const ALLOWED: &str = "a loopback address (127.0.0.0/8, ::1 or localhost)";
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let Some(value) = env.get(HOST) else { return Ok(localhost) };
    let text = value.to_str().unwrap_or_default();
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(localhost);
    }
    let address: Option<IpAddr> = text.parse().ok();
    match address {
        Some(address) if address.is_loopback() => Ok(address),
        // The form of a host's name (RFC 1123, 2.1), so a hub or another machine is meant.
        _ if address.is_some()
            || (!text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')) =>
        {
            let value = shown(&value);
            Err(ConfigError::NotInThisVersion { variable: HOST, value, allowed: ALLOWED })
        }
        _ => Err(invalid(HOST, &value, ALLOWED.to_owned())),
    }
}

fn role_of<L: Fn(&str) -> Option<OsString>>(env: &Env<L>) -> Result<Role, ConfigError> {
    if let Some(value) = env.get(ROLE).filter(|value| value == "client") {
        let value = shown(&value);
        return Err(ConfigError::NotInThisVersion {
            variable: ROLE,
            value,
            allowed: "auto, broker",
        });
    }
    env.word(ROLE, Role::Auto, &[("auto", Role::Auto), ("broker", Role::Broker)])
}

fn shared_secret_of<L: Fn(&str) -> Option<OsString>>(
    env: &Env<L>,
) -> Result<Option<Secret>, ConfigError> {
    let min = limits::SHARED_SECRET_CHARS_MIN;
    let Some(value) = env.get(SHARED_SECRET) else { return Ok(None) };
    match value.to_str() {
        Some(text) if text.chars().count() >= min => Ok(Some(Secret(text.to_owned()))),
        _ => Err(ConfigError::Invalid {
            variable: SHARED_SECRET,
            value: "(hidden)".to_owned(),
            allowed: format!("at least {min} characters of UTF-8"),
        }),
    }
}

fn name_of<L: Fn(&str) -> Option<OsString>>(env: &Env<L>) -> Result<Option<String>, ConfigError> {
    let Some(value) = env.get(NAME) else { return Ok(None) };
    let text = value.to_string_lossy();
    if text == names::AUTO {
        return Ok(None);
    }
    match names::check(&text) {
        Ok(()) => Ok(Some(text.into_owned())),
        Err(why) => {
            let max = limits::NAME_CHARS_MAX;
            let allowed = format!("auto, or 1 to {max} of A-Z a-z 0-9 . _ - ({why})");
            Err(invalid(NAME, &value, allowed))
        }
    }
}

fn invalid(variable: &'static str, value: &OsStr, allowed: String) -> ConfigError {
    ConfigError::Invalid { variable, value: shown(value), allowed }
}

/// A value as it stands in an error: quoted, control characters escaped, cut to a sensible length.
fn shown(value: &OsStr) -> String {
    let text = value.to_string_lossy();
    match text.char_indices().nth(limits::SHOWN_VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

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
            role: Role::Auto,
            ws_port: 7900,
            shared_secret: None,
            discovery: true,
            idle_timeout_ms: Some(60_000),
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
            (SHARED_SECRET, "0123456789abcdef"),
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
            (LOG, "debug"),
        ]);
        assert_eq!(
            read,
            Config {
                paths: Paths::new("/d".into()),
                port: 8000,
                host: "127.1.2.3".parse().unwrap(),
                role: Role::Broker,
                ws_port: 8001,
                shared_secret: Some(Secret("0123456789abcdef".to_owned())),
                discovery: false,
                idle_timeout_ms: Some(1000),
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
    fn only_this_machine_is_in_this_version() {
        for good in ["127.0.0.1", "127.255.255.255", "::1", "localhost", "LocalHost"] {
            assert!(config(&[(HOST, good)]).host.is_loopback(), "{good}");
        }
        for remote in ["0.0.0.0", "::", "128.0.0.1", "126.255.255.255", "10.0.0.1", "hub.example"] {
            assert!(refused(HOST, remote).contains("not in this version"), "{remote}");
        }
        for bad in ["127.0.0.1:80", "a b", "[::1]", "http://x"] {
            assert!(!refused(HOST, bad).contains("not in this version"), "{bad}");
        }
        assert!(refused(ROLE, "client").contains("not in this version"));
    }

    #[test]
    fn ports_to_try_go_around_the_websocket_port() {
        let ports = |port: &str, ws_port: &str| {
            config(&[(PORT, port), (WS_PORT, ws_port)]).port_candidates()
        };
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
    fn secret_has_16_characters_and_is_never_shown() {
        assert!(read(&[(SHARED_SECRET, "0123456789abcde")]).is_err());
        assert!(read(&[(SHARED_SECRET, "éééééééééééééééé")]).is_ok());
        let text = read(&[(SHARED_SECRET, "topsecret")]).unwrap_err().to_string();
        assert_eq!(
            text,
            "SLM_MESH_SHARED_SECRET is (hidden); allowed: at least 16 characters of UTF-8"
        );
        let config = config(&[(SHARED_SECRET, "0123456789abcdef")]);
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
        assert_eq!(config.shared_secret.unwrap().reveal(), "0123456789abcdef");
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
        assert!(
            refused(NAME, "0b6e8b5c-5a1e-4a52-9d4e-2d3c7f6a8b90").contains("the form of a UUID")
        );
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
}
