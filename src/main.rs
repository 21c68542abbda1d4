//! argv and stdin decide the role; nothing else.

use std::ffi::OsString;
use std::process::ExitCode;

use slm_mesh::cli::{self, Command, Failure, Invocation, StartMode};
use slm_mesh::config::Config;
use slm_mesh::{broker, hook, mcp, platform, session};

fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().skip(1).collect();
    let json = cli::wants_json(&line);
    let invocation = match Invocation::parse(line) {
        Ok(invocation) => invocation,
        // As with settings: the entry of an agent's server is one.
        Err(error) if error.command == Some("mcp") && !platform::stdin_is_terminal() => {
            return finish(mcp::run(Err(error)), json);
        }
        Err(error) => return cli::finish(Err(Failure::Usage(error)), json),
    };
    match invocation.command {
        Command::Mcp => serve_agent(&invocation),
        // This is how every agent launches it.
        Command::Bare if !platform::stdin_is_terminal() => serve_agent(&invocation),
        Command::Start(StartMode::Foreground) => be_broker(&invocation, broker::Mode::Foreground),
        Command::Start(StartMode::Background) => be_broker(&invocation, broker::Mode::Background),
        // A person who tries it is told what it is for.
        Command::Hook(asked) if !platform::stdin_is_terminal() => {
            let run = if asked.waits { hook::wait } else { hook::run };
            run(asked.agent, invocation.global.data_dir.as_deref())
        }
        Command::Session(ref agent) => serve_plugin(&invocation, agent),
        _ => cli::run(&invocation),
    }
}

/// Serves an agent until it is gone, whatever the settings.
fn serve_agent(invocation: &Invocation) -> ExitCode {
    let global = &invocation.global;
    let served = mcp::run(Config::from_env(global.data_dir.as_deref()));
    finish(served, global.json)
}

/// Serves a plugin until it is gone.
fn serve_plugin(invocation: &Invocation, agent: &str) -> ExitCode {
    let global = &invocation.global;
    match Config::from_env(global.data_dir.as_deref()) {
        Ok(config) => finish(session::run(config, agent), global.json),
        Err(error) => cli::finish(Err(error.into()), global.json),
    }
}

/// Runs the broker until it ends.
fn be_broker(invocation: &Invocation, mode: broker::Mode) -> ExitCode {
    let global = &invocation.global;
    match Config::from_env(global.data_dir.as_deref()) {
        Ok(config) => finish(broker::run(&config, mode), global.json),
        Err(error) => cli::finish(Err(error.into()), global.json),
    }
}

fn finish<E: std::fmt::Display>(served: Result<(), E>, json: bool) -> ExitCode {
    let done = served.map(|()| cli::Exit::Done);
    cli::finish(done.map_err(|error| Failure::from_server(&error)), json)
}
