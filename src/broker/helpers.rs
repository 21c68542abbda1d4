//! The helpers that are switched on: started with the broker, started again when they die, ended with
//! it. Each is a client like any other, and the loop never waits for one.
//!
//! A helper's standard output is a pipe to here that nothing is written to. Its end is the helper's
//! end, and where the broker ends, however that comes, the helper sees it by the same pipe.

use std::io;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use mio::unix::pipe::Receiver;
use mio::{Interest, Registry};

use super::table::{Key, Kind, Table};
use crate::config::{Config, DATA_DIR};
use crate::helper::{Helper, HelperFiles};
use crate::limits::{HELPER_PAUSE_MAX, HELPER_PAUSE_MIN};
use crate::log;
use crate::model::Monotonic;
use crate::platform::own_executable;

/// A helper that runs.
#[derive(Debug)]
struct Running {
    helper: Helper,
    child: Child,
    output: Receiver,
    since: Monotonic,
    /// What was stored of how it is to be when it was started.
    settings: Option<Vec<u8>>,
    /// It was ended for another to begin.
    replaced: bool,
}

/// How one that has died is started again.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// When; none: it runs, or is not wanted.
    until: Option<Monotonic>,
    /// How long it rested before.
    pause: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Helpers {
    config: Config,
    registry: Rc<Registry>,
    running: Table<Running>,
    rests: [Rest; Helper::ALL.len()],
}

impl Helpers {
    pub(super) fn new(config: &Config, registry: Rc<Registry>) -> Self {
        let rest = Rest { until: None, pause: Duration::ZERO };
        let rests = Helper::ALL.map(|_| rest);
        Self { config: config.clone(), registry, running: Table::new(), rests }
    }

    /// Descriptors in use.
    pub(super) fn descriptors(&self) -> usize {
        self.running.len()
    }

    /// Whether this process is one of them.
    pub(super) fn has(&self, pid: u32) -> bool {
        self.running.iter().any(|(_, running)| running.child.id() == pid)
    }

    /// When [`Helpers::tick`] is to be called.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.rests.iter().filter_map(|rest| rest.until).min()
    }

    /// Looks which are switched on: those whose settings have changed are started anew.
    pub(super) fn reload(&mut self, now: Monotonic) {
        for helper in Helper::ALL {
            *self.rest(helper) = Rest { until: None, pause: Duration::ZERO };
            if !self.is_as_stored(helper) && !self.replace(helper) {
                self.start(helper, now);
            }
        }
    }

    /// Whether the helper runs with the settings of now.
    fn is_as_stored(&self, helper: Helper) -> bool {
        let place = HelperFiles::of(helper, &self.config.paths);
        let same = |running: &Running| running.settings == place.stored() && !running.replaced;
        place.is_wanted(&self.config)
            && self.running.iter().any(|(_, running)| running.helper == helper && same(running))
    }

    /// Ends the helper for another to begin. Gives whether it ran.
    fn replace(&mut self, helper: Helper) -> bool {
        let mut runs = false;
        for (_, running) in self.running.iter_mut().filter(|(_, it)| it.helper == helper) {
            runs = true;
            running.replaced = true;
            // One that has ended is noticed by its pipe.
            let _ = running.child.kill();
        }
        runs
    }

    /// Starts those that have rested.
    pub(super) fn tick(&mut self, now: Monotonic) {
        for helper in Helper::ALL {
            let rest = self.rest(helper);
            if rest.until.is_some_and(|until| until <= now) {
                rest.until = None;
                self.start(helper, now);
            }
        }
    }

    /// A helper has closed its pipe, which it does with its end.
    pub(super) fn ended(&mut self, key: Key, now: Monotonic) {
        let Some(mut running) = self.running.remove(key) else { return };
        // It goes with its descriptor anyway.
        let _ = self.registry.deregister(&mut running.output);
        // It is dead or about to be, so that this does not wait.
        let _ = running.child.kill();
        let status = running.child.wait();
        let Running { helper, since, replaced, .. } = running;
        if replaced {
            return self.start(helper, now);
        }
        if self.is_wanted(helper) {
            let ended = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            log::warn(format_args!("the helper `{}` has ended ({ended})", helper.name()));
            if now.since(since) >= HELPER_PAUSE_MAX {
                self.rest(helper).pause = Duration::ZERO;
            }
            self.start_later(helper, now);
        }
    }

    fn is_wanted(&self, helper: Helper) -> bool {
        HelperFiles::of(helper, &self.config.paths).is_wanted(&self.config)
    }

    fn start(&mut self, helper: Helper, now: Monotonic) {
        if !self.is_wanted(helper) {
            return;
        }
        if let Err(error) = self.spawn(helper, now) {
            log::warn(format_args!("the helper `{}` cannot be run: {error}", helper.name()));
            self.start_later(helper, now);
        }
    }

    fn start_later(&mut self, helper: Helper, now: Monotonic) {
        let rest = self.rest(helper);
        rest.pause = (rest.pause * 2).clamp(HELPER_PAUSE_MIN, HELPER_PAUSE_MAX);
        rest.until = Some(now.plus(rest.pause));
    }

    fn spawn(&mut self, helper: Helper, now: Monotonic) -> io::Result<()> {
        // Before the helper reads it: what is stored meanwhile is seen to be another.
        let settings = HelperFiles::of(helper, &self.config.paths).stored();
        let mut child = Command::new(own_executable()?)
            .args([helper.name(), "--helper"])
            .env(DATA_DIR, self.config.paths.dir())
            .current_dir(self.config.paths.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let Some(output) = child.stdout.take() else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut output = Receiver::from(output);
        let token = self.running.next_key().token(Kind::Helper);
        let registered = output
            .set_nonblocking(true)
            .and_then(|()| self.registry.register(&mut output, token, Interest::READABLE));
        if let Err(error) = registered {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        log::debug(format_args!("the helper `{}` runs: process {}", helper.name(), child.id()));
        let replaced = false;
        self.running.insert(Running { helper, child, output, since: now, settings, replaced });
        Ok(())
    }

    fn rest(&mut self, helper: Helper) -> &mut Rest {
        let [notify, memory] = &mut self.rests;
        match helper {
            Helper::Notify => notify,
            Helper::Memory => memory,
        }
    }
}
