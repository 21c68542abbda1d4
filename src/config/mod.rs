//! Settings: environment to [`Config`], read and checked once, at the start of the process.
//!
//! Nothing falls back silently: a value that does not parse is an error that names the variable,
//! the value and what is allowed. A variable that is set but empty counts as not set, as in a shell
//! that exports it without a value. No file is touched here; [`crate::data_dir`] does that.

mod env;
mod error;
mod machines;
mod place;
mod secret;

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use self::env::Env;
pub use self::error::ConfigError;
use self::error::invalid;
pub use self::machines::{Asked, HubAddress, HubHost};
pub use self::secret::Secret;
use crate::limits;
use crate::names;
use crate::paths::Paths;

/// The variable of [`Config::paths`].
pub const DATA_DIR: &str = "SLM_MESH_DATA_DIR";
/// The variable of [`Config::port`].
pub const PORT: &str = "SLM_MESH_PORT";
/// The variable of [`Config::host`] and [`Config::asked`].
pub const HOST: &str = "SLM_MESH_HOST";
/// The variable of [`Config::asked`].
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
/// The variable of [`Config::notify`].
pub const NOTIFY: &str = "SLM_MESH_NOTIFY";
/// The variable of [`Config::memory`].
pub const MEMORY: &str = "SLM_MESH_MEMORY";
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
    /// Address that local clients are served on; a loopback address.
    pub host: IpAddr,
    /// What the data directory is to be.
    pub asked: Asked,
    /// Port for other machines.
    pub ws_port: u16,
    /// What lets machines in that know it.
    pub shared_secret: Option<Secret>,
    /// Whether hubs are announced and looked for by mDNS.
    pub discovery: bool,
    /// Time without peers before the broker stops, ms; `None`: it never does.
    pub idle_timeout_ms: Option<u32>,
    /// Whether that was set: a hub goes by it only then.
    pub idle_timeout_set: bool,
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
    /// The program that `slm-mesh notify on` has tell the person of messages; `None`: the desktop's.
    pub notify: Option<String>,
    /// The memory that is given what happens, unless another is stored.
    pub memory: Option<String>,
    /// The least severe lines that are logged.
    pub log: LogLevel,
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
        let env = Env { lookup: &lookup };
        let (host, asked) = machines::host_and_role(&env)?;
        let interval = limits::INTERVAL_MS_MIN..=limits::INTERVAL_MS_MAX;
        let config = Self {
            paths: Paths::new(place::data_dir_of(&env, data_dir, current_dir)?),
            port: env.number(PORT, 0..=u16::MAX, " (0: any free port)")?.unwrap_or(PORT_DEFAULT),
            host,
            asked,
            ws_port: env.number(WS_PORT, 1..=u16::MAX, "")?.unwrap_or(WS_PORT_DEFAULT),
            shared_secret: secret::shared_secret_of(&env)?,
            discovery: env.boolean(DISCOVERY, true)?,
            idle_timeout_ms: env.number_or_off(IDLE_TIMEOUT, 60_000, interval.clone(), " ms")?,
            idle_timeout_set: env.get(IDLE_TIMEOUT).is_some(),
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
            notify: env.text(NOTIFY)?,
            memory: env.text(MEMORY)?,
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

    /// The same for asking whatever serves the data directory, as what it may be.
    #[must_use]
    pub fn of_any_role(&self) -> Self {
        Self { asked: Asked::Nothing, ..self.clone() }
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

fn name_of(env: &Env<'_>) -> Result<Option<String>, ConfigError> {
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

#[cfg(test)]
mod tests;
