//! argv and stdin decide the role; nothing else.

use std::ffi::OsString;
use std::process::ExitCode;

use slm_mesh::cli::{self, Command, Failure, Invocation, StartMode};
use slm_mesh::config::Config;
use slm_mesh::{broker, hook, mcp, platform};

fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().skip(1).collect();
    let json = cli::wants_json(&line);
    let invocation = match Invocation::parse(line) {
        Ok(invocation) => invocation,
        Err(error) => return cli::finish(Err(Failure::Usage(error)), json),
    };
    match invocation.command {
        Command::Mcp => serve(&invocation, mcp::run),
        // This is how every agent launches it.
        Command::Bare if !platform::stdin_is_terminal() => serve(&invocation, mcp::run),
        Command::Start(StartMode::Foreground) => {
            serve(&invocation, |config| broker::run(config, broker::Mode::Foreground))
        }
        Command::Start(StartMode::Background) => {
            serve(&invocation, |config| broker::run(config, broker::Mode::Background))
        }
        // A person who tries it is told what it is for.
        Command::Hook(agent) if !platform::stdin_is_terminal() => {
            hook::run(agent, invocation.global.data_dir.as_deref())
        }
        _ => cli::run(&invocation),
    }
}

/// Runs a server until it ends.
fn serve<E: std::fmt::Display>(
    invocation: &Invocation,
    server: impl FnOnce(&Config) -> Result<(), E>,
) -> ExitCode {
    let global = &invocation.global;
    let result = Config::from_env(global.data_dir.as_deref())
        .map_err(Failure::from)
        .and_then(|config| server(&config).map_err(|error| Failure::from_server(&error)));
    cli::finish(result.map(|()| cli::Exit::Done), global.json)
}
