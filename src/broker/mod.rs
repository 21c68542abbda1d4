//! The broker: one process for each data directory, which keeps the mesh and serves it to everyone on
//! the machine. Here it starts, runs and ends; it decides nothing about the mesh.
//!
//! | module | what it is for |
//! |---|---|
//! | `lifecycle` | the lock, the files, the signals |
//! | `reactor` | the loop |
//! | `room` | what answers the clients, as the loop sees it |
//! | `local` | the mesh in this process, as one |
//! | `hub` | the same with a door for other machines; with the feature `lan` |
//! | `relay` | the way to one on another machine, likewise; with the feature `lan` |
//! | `turn` | requests of one turn, up to the commit |
//! | `front`, `gate` | what comes on a connection, where it comes from and where it wants to |
//! | `page` | the page of `slm-mesh web`, and its token |
//! | `answers` | answers until they may leave |
//! | `acceptor`, `connection` | HTTP connections |
//! | `held`, `pending`, `untold` | requests that wait, and news that does |
//! | `links`, `sockets` | push connections |
//! | `helpers` | processes beside the broker, such as for notifications |
//! | `machines` | the hub's connections to machines, with their descriptors; with the feature `lan` |
//! | `remote` | the hub's end of the connection to a machine |
//! | `uplink` | a relay's end of the connection to its hub |
//! | `table`, `timers`, `clock`, `entropy` | keys, alarms, time and random bytes |

mod error;
mod lifecycle;
mod reactor;
#[cfg(feature = "lan")]
mod relay;
mod room;
mod turn;
mod untold;
pub mod uplink;
mod gate;
mod answers;
mod acceptor;
mod agents;
mod connection;
pub mod held;
mod helpers;
pub mod links;
#[cfg(feature = "lan")]
mod hub;
mod local;
mod page;
mod pending;
#[cfg(feature = "lan")]
pub mod machines;
pub mod remote;
mod returning;
mod sockets;
mod table;
mod timers;
mod clock;
mod entropy;
mod front;

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
#[cfg(feature = "lan")]
use std::net::Ipv6Addr;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::Mode as Bits;

use crate::config::Config;
#[cfg(feature = "lan")]
use crate::config::HubAddress;
use crate::data_dir;
#[cfg(feature = "lan")]
use crate::lan::key::MachineKey;
#[cfg(feature = "lan")]
use crate::lan::secret::SharedKey;
use crate::log;
use crate::mesh::{Mesh, Settings};
#[cfg(feature = "lan")]
use crate::model::MachineId;
use crate::model::MachineName;
use crate::neighbour::Foreign;
use crate::paths::Paths;
use crate::platform;
#[cfg(feature = "lan")]
use crate::role::Bearer;
#[cfg(not(feature = "lan"))]
use crate::role::RoleError;
use crate::role::{self, Role};
use crate::store::sqlite::Options;
pub use error::StartError;

use acceptor::Acceptor;
use clock::Clock;
use entropy::SystemEntropy;
use gate::Gate;
use helpers::Helpers;
use lifecycle::Presence;
use links::Links;
use local::{Backend, Local};
use reactor::{End, Parts, Reactor};
#[cfg(feature = "lan")]
use relay::{HubConnection, HubRecord, Relay};
use room::Room;
use sockets::Sockets;
use turn::Turn;
#[cfg(feature = "lan")]
use uplink::Uplink;

/// How the broker was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a person: it logs to the standard error and ends with the terminal.
    Foreground,
    /// By a client that needs it: it leaves that client's session, logs to `broker.log`, and says on
    /// the standard output, in one line, `ready <port>` or `error <why>`.
    Background,
}

/// Runs the broker of `config`'s data directory until it is asked to stop or is not needed any more.
///
/// # Errors
/// It could not start, or could not go on. In the background, the first line of the standard output
/// has said so, too; there, [`StartError::AlreadyRunning`] is as good as a start.
pub fn run(config: &Config, mode: Mode) -> Result<(), StartError> {
    log::set_level(config.log);
    // What is made from here on is nobody else's.
    rustix::process::umask(Bits::RWXG | Bits::RWXO);
    let result = start_and_serve(config, mode);
    if let (Mode::Background, Err(error)) = (mode, &result) {
        match error {
            StartError::AlreadyRunning { port, .. } => say(format_args!("ready {port}")),
            // It has said `ready` before, and nobody listens any more.
            StartError::Ended(_) => log::error(format_args!("{error}")),
            error => {
                say(format_args!("error {}", error.to_string().replace('\n', " ")));
                log::error(format_args!("{error}"));
            }
        }
    }
    result
}

fn start_and_serve(config: &Config, mode: Mode) -> Result<(), StartError> {
    let paths = &config.paths;
    if mode == Mode::Background {
        platform::new_session().map_err(lacking("leave the session of the client"))?;
    }
    data_dir::prepare(paths)?;
    let lock = lifecycle::take_lock(config)?;
    if let Some(foreign) = Foreign::find(config) {
        return Err(StartError::Foreign(foreign));
    }
    let role = role::of(config).map_err(StartError::Role)?.role;
    if mode == Mode::Background {
        settle_in(paths)?;
    }
    let presence = Presence::clear(paths);
    let (mut reactor, port, token) = build(config, mode, &role)?;
    presence.announce(role.kind(), port, &token)?;
    log::info(format_args!(
        "serving {} on {}:{port}, version {}, pid {}",
        paths.dir().display(),
        config.host,
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    ));
    if mode == Mode::Background {
        say(format_args!("ready {port}"));
        detach().map_err(lacking("leave the client"))?;
    }

    let mut end = reactor.run().map_err(|fatal| StartError::Ended(fatal.to_string()))?;
    if end == End::Stopped && has_moved(config, reactor.room()) {
        end = End::Moved;
    }
    log::info(format_args!("stopping ({})", end.as_str()));
    // Whoever looks for a broker from now on is told that this one is on its way out.
    drop(presence);
    match reactor.finish(end).close() {
        Ok(()) => log::info(format_args!("stopped")),
        // The next start finds everything that was acknowledged.
        Err(error) => log::warn(format_args!("stopped, but not the database: {error}")),
    }
    // The last thing: now another may start.
    drop(lock);
    Ok(())
}

/// Whether the data directory has another role by now than the one that was served, or another hub.
fn has_moved(config: &Config, served: &dyn Room) -> bool {
    role::of(config).is_ok_and(|resolved| match resolved.role {
        Role::Relay { hub: Some(hub), .. } => served.hub() != Some(hub),
        role => role.kind() != served.role(),
    })
}

/// Makes the data directory home: the log goes there, and no other directory is kept in use.
fn settle_in(paths: &Paths) -> Result<(), StartError> {
    log::to_file(paths).map_err(|source| {
        let path = paths.log();
        StartError::Io { what: "open", path, source }
    })?;
    std::env::set_current_dir(paths.dir()).map_err(|source| {
        let path = paths.dir().to_owned();
        StartError::Io { what: "enter", path, source }
    })
}

/// What a room of any kind is made of.
struct Home<'a> {
    config: &'a Config,
    gate: Gate,
    port: u16,
    mesh_id: Box<str>,
    entropy: SystemEntropy,
    sockets: Sockets,
    clock: Clock,
    #[cfg_attr(not(feature = "lan"), expect(dead_code, reason = "no room has descriptors"))]
    registry: Rc<mio::Registry>,
}

/// Everything that serves: the port is taken, the database open. Gives port and token with it.
fn build(config: &Config, mode: Mode, role: &Role) -> Result<(Reactor, u16, Box<str>), StartError> {
    let paths = &config.paths;
    let signals = lifecycle::signals(mode).map_err(lacking("listen to signals"))?;
    let (listeners, port) = lifecycle::listen(config)?;
    let descriptors = platform::raise_descriptor_limit();
    let mut entropy = SystemEntropy::new().map_err(|error| {
        let source = io::Error::other(error.to_string());
        StartError::System { what: "get random bytes", source }
    })?;
    let token = lifecycle::new_token(&mut entropy);
    let mesh_id = lifecycle::mesh_id(paths, &mut entropy)?;
    let clock = Clock::start();
    let poll = mio::Poll::new().map_err(lacking("wait for events"))?;
    let registry = poll.registry().try_clone().map_err(lacking("wait for events"))?;
    let registry = Rc::new(registry);
    let sockets = Sockets::new(paths.peers());
    let gate = Gate::new(port, token.clone());
    let home = Home {
        config,
        gate,
        port,
        mesh_id,
        entropy,
        sockets: sockets.clone(),
        clock,
        registry: Rc::clone(&registry),
    };
    let room: Box<dyn Room> = match role {
        Role::Broker => Box::new(home.broker(None)?),
        Role::Hub { listen } => Box::new(home.broker(Some(*listen))?),
        #[cfg(feature = "lan")]
        Role::Relay { hub, addresses, bearer } => {
            Box::new(home.relay((*hub, addresses.clone(), bearer.clone()))?)
        }
        #[cfg(not(feature = "lan"))]
        Role::Relay { .. } => return Err(StartError::Role(RoleError::NoNetwork)),
    };
    let helpers = Helpers::new(config, Rc::clone(&registry));
    let reactor = Reactor::new(Parts {
        poll,
        clock,
        acceptor: Acceptor::new(listeners, descriptors),
        signals,
        room,
        links: Links::new(registry, sockets),
        helpers,
        idle_timeout: config.idle_timeout_ms.map(ms),
        buffered_max: config.connection_mib as usize * 1024 * 1024,
    });
    Ok((reactor.map_err(lacking("wait for events"))?, port, token))
}

impl Home<'_> {
    /// The mesh in this process, which other machines may join at `listen`.
    #[cfg(feature = "lan")]
    fn broker(self, listen: Option<IpAddr>) -> Result<hub::Hub, StartError> {
        let config = self.config;
        let now = self.clock.now().mono;
        let door = hub::Door {
            key: config.paths.machine_key(),
            listen: listen.unwrap_or(Ipv6Addr::UNSPECIFIED.into()),
            port: config.ws_port,
            secret: config.shared_secret.as_ref().map(SharedKey::new),
            announce: config.discovery,
            registry: Rc::clone(&self.registry),
        };
        let stays = !config.idle_timeout_set;
        let mut hub = hub::Hub::new(self.local()?, door, config.paths.clone(), stays);
        if listen.is_some() {
            hub.open(now).map_err(|error| StartError::Machines(error.to_string()))?;
        }
        Ok(hub)
    }

    /// The mesh in this process.
    #[cfg(not(feature = "lan"))]
    fn broker(self, _: Option<IpAddr>) -> Result<Local<Backend>, StartError> {
        self.local()
    }

    fn local(self) -> Result<Local<Backend>, StartError> {
        let Self { config, gate, port, mesh_id, entropy, sockets, clock, .. } = self;
        let options =
            Options { durability: config.durability, tell: log::warn, ..Options::default() };
        let store = Backend::open(&config.paths.db(), &options)
            .map_err(|error| StartError::Store(error.to_string()))?;
        let settings = settings(config, port, mesh_id);
        let mesh = Mesh::new(store, Box::new(entropy), settings, clock.now())
            .map_err(|error| StartError::Store(error.to_string()))?;
        Ok(Local::new(Turn::new(mesh, gate, sockets, clock)))
    }

    /// The way to one on another machine.
    #[cfg(feature = "lan")]
    fn relay(
        self,
        known: (Option<MachineId>, Vec<HubAddress>, Bearer),
    ) -> Result<Relay, StartError> {
        let Self { config, gate, port: _, mesh_id, entropy, sockets, clock, registry } = self;
        let paths = &config.paths;
        let key = MachineKey::load_or_make(&paths.machine_key());
        let key = key.map_err(|error| StartError::Machines(error.to_string()))?;
        let name = MachineName::of_host(&platform::host_name());
        let hub = HubRecord::new(known, key, name, paths.machines());
        let wire = HubConnection::new(hub, config.discovery, registry, Box::new(entropy));
        let wire = wire.map_err(lacking("wait for events"))?;
        let now = clock.now();
        let name = name.map_or_else(String::new, |name| name.to_string());
        let uplink = Uplink::new(&name, now.mono);
        Ok(Relay::new(uplink, Some(wire), gate, sockets, mesh_id, now))
    }
}

fn lacking(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

fn settings(config: &Config, port: u16, mesh_id: Box<str>) -> Settings {
    Settings {
        heartbeat: ms(config.heartbeat_ms),
        stale: ms(config.stale_ms),
        dead: ms(config.dead_ms),
        lock_ttl_minutes: config.lock_ttl_min,
        rate_limit: config.rate_limit.unwrap_or(0),
        wake_limit: config.wake_limit.unwrap_or(0),
        pid: std::process::id(),
        port,
        boot_id: platform::boot_id(),
        mesh_id,
        machine_name: MachineName::of_host(&platform::host_name()),
        is_hub: false,
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// Says a line to whoever has started the broker, if that still listens.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
}

/// Lets go of the standard streams of whoever has started the broker; the standard error is the log
/// by now.
fn detach() -> io::Result<()> {
    platform::null_stdin()?;
    platform::null_stdout()
}
