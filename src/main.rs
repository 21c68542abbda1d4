//! argv and stdin decide the role; nothing else.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use slm_mesh::cli::{self, Failure, Invocation, Task};
use slm_mesh::config::Config;
use slm_mesh::{broker, hook, mcp, platform, session};

fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().skip(1).collect();
    let json = cli::wants_json(&line);
    let stdin_is_terminal = platform::stdin_is_terminal();
    let Invocation { global, task } = match Invocation::parse(line, stdin_is_terminal) {
        Ok(invocation) => invocation,
        // A mistake in an agent's entry for its server is told to the agent, like one in the settings.
        Err(error) if error.command == Some("mcp") && !stdin_is_terminal => {
            return finish(mcp::run(Err(error)), json);
        }
        Err(error) => return cli::finish(Err(Failure::Usage(error)), json),
    };
    let data_dir = global.data_dir.as_deref();
    match task {
        Task::Command(work) => cli::run(&work, global),
        // Whatever is wrong with the settings, the agent is told.
        Task::McpServer => finish(mcp::run(Config::from_env(data_dir)), json),
        Task::Broker { in_background } => with_config(data_dir, json, |config| {
            let mode =
                if in_background { broker::Mode::Background } else { broker::Mode::Foreground };
            broker::run(&config, mode)
        }),
        Task::Hook { .. } if stdin_is_terminal => cli::finish(Err(Failure::hook_by_hand()), json),
        Task::Hook { agent, waits } => {
            (if waits { hook::wait } else { hook::run })(agent, data_dir)
        }
        Task::Session(agent) => with_config(data_dir, json, |config| session::run(config, &agent)),
    }
}

/// Serves until the work is done, with the settings.
fn with_config<E: std::fmt::Display>(
    data_dir: Option<&OsStr>,
    json: bool,
    serve: impl FnOnce(Config) -> Result<(), E>,
) -> ExitCode {
    match Config::from_env(data_dir) {
        Ok(config) => finish(serve(config), json),
        Err(error) => cli::finish(Err(error.into()), json),
    }
}

fn finish<E: std::fmt::Display>(served: Result<(), E>, json: bool) -> ExitCode {
    cli::finish(served.map_err(|error| Failure::from_server(&error)), json)
}
