//! `slm-mesh web`

use std::env;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{self, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Result;
use super::command::{Command, Context, Entry, Group, Task};
use super::out::write_object;
use super::words::{self, Words};
use crate::api::{PageOpened, Request};
use crate::client::StartPolicy;

/// How long the program that opens addresses is watched: one that still runs has opened something.
const OPENING_TIME: Duration = Duration::from_secs(3);
/// How often it is looked whether it has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

pub(super) const ENTRY: Entry = Entry {
    name: "web",
    group: Group::Broker,
    summary: "look at the mesh, and act in it, in a browser",
    usage: &["web [--print]"],
    about: &[
        "Opens the broker's page: peers, conversations as threads, locks, state and events, live, and \
         to send, answer, release and steal. It is served to this machine only, and reads nothing \
         as read. As long as it is open, the broker does not stop for want of peers.",
        "The address has a key in it, with which the page may do what you may here, but for stopping \
         the broker, machines, and making such keys. Each `web` makes a new one and ends the one \
         before; it ends after 12 hours, too, and with the broker. Keep the address to yourself.",
    ],
    options: &[("--print", "print the address, and open nothing")],
    examples: &[("web", ""), ("web --print", "to open it yourself")],
    parse,
};

#[derive(Debug)]
struct Web {
    /// Say where the page is, and open nothing.
    print: bool,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let print = words.flag("--print");
    words.end()?;
    Ok(Task::command(Web { print }))
}

impl Command for Web {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to open the page")?;
        let mut client = context.client(StartPolicy::IfNeeded)?;
        let PageOpened { token, port, expires_at } = client.call(&Request::OpenPage)?;
        let page = format!("http://{}/", SocketAddr::new(context.config.host, port));
        let url = format!("{page}#{token}");
        let opened = !self.print && open(&url);
        let out = &mut context.out;
        if out.json {
            write_object!(
                out,
                "ok" => true, "url" => url, "opened" => opened, "expiresAt" => expires_at
            )
        } else if self.print {
            writeln!(out, "{url}")
        } else if opened {
            out.paragraph(&format!(
                "The page is open in your browser, at {page}. It is yours for 12 hours, or until the \
                 next `slm-mesh web`."
            ))
        } else {
            out.paragraph(
                "No browser can be opened from here. Open this address yourself; there is a key in it, \
                 so keep it to yourself:",
            )?;
            writeln!(out, "\n{url}")?;
            if env::var_os("SSH_CONNECTION").is_none() {
                return Ok(());
            }
            writeln!(out)?;
            out.paragraph(&format!(
                "For a browser where you sit, first: ssh -L {port}:127.0.0.1:{port} and this \
                 machine's name."
            ))
        }
    }
}

/// Asks the desktop to open an address. Gives whether it does.
fn open(url: &str) -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"].into_iter().any(is_set) {
        "xdg-open"
    } else {
        // It would look for a browser that draws on a terminal.
        return false;
    };
    let child = process::Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A browser that it becomes does not end with this terminal's job.
        .process_group(0)
        .spawn();
    let Ok(mut child) = child else { return false };
    let until = Instant::now() + OPENING_TIME;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < until => sleep(LOOK_INTERVAL),
            Ok(None) | Err(_) => return true,
        }
    }
}
