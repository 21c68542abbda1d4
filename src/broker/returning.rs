//! What the kernel says of a peer that registers and of the one it might be: the facts by which the
//! mesh knows a session again.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::sockets::Sockets;
use crate::api::{ProcessFacts, Register};
use crate::mesh::{Caller, Mesh};
use crate::platform::{ancestors, is_alive, peer_credentials, start_mark};
use crate::store::{Result as Stored, Store};
use crate::wire::frames::Look;

/// Fills in the facts of a registration. They are looked for only where they can make a difference,
/// but for the start of the agent's process. To be called in a turn.
///
/// # Errors
/// Those of the store.
pub(super) fn look<S: Store>(
    mesh: &mut Mesh<S>,
    register: &mut Register,
    sockets: &Sockets,
) -> Stored<()> {
    if !cfg!(target_os = "linux") {
        // The kernel does not tell who listens on a socket: nobody is known again.
        return Ok(());
    }
    let agent = register.agent_pid;
    let agent_start = agent.and_then(start_mark).map(Into::into);
    register.facts = ProcessFacts { agent_start, ..ProcessFacts::default() };
    let (Some(agent), Some(socket)) = (agent, &register.uds_path) else { return Ok(()) };
    let Some(former) = mesh.former(Caller::Broker, register)? else { return Ok(()) };
    let (former_pid, former_start) = &former.agent;
    let look = Look {
        id: 0,
        agent_pid: agent,
        socket: (&**socket).into(),
        former_pid: *former_pid,
        former_start: (&**former_start).into(),
        former_socket: former.socket.as_deref().map(Into::into),
    };
    let agent_start = register.facts.agent_start.take();
    register.facts = ProcessFacts { agent_start, ..facts(&look, sockets) };
    Ok(())
}

/// What can be found out of the two, but for the start of the newcomer's agent.
pub(super) fn facts(look: &Look<'_>, sockets: &Sockets) -> ProcessFacts {
    let (agent, socket) = (look.agent_pid, Path::new(&*look.socket));
    let former = look.former_socket.as_deref().map(Path::new);
    ProcessFacts {
        agent_start: None,
        descends: sockets.find(socket).is_ok_and(|path| descends(&path, agent)),
        former_gone: former.is_some_and(|path| is_abandoned(path, sockets)),
        former_ended: !is_process(look.former_pid, &look.former_start),
    }
}

/// Whether the process that listens on `socket` is `agent`, or was started by it or its descendants.
fn descends(socket: &Path, agent: u32) -> bool {
    let listener = connect(socket).and_then(|stream| peer_credentials(&stream));
    let Some(pid) = listener.ok().filter(|it| !it.is_foreign()).and_then(|it| it.pid) else {
        return false;
    };
    is_alive(agent) && (pid == agent || ancestors(pid).contains(&agent))
}

/// Whether nobody listens on the socket any more.
fn is_abandoned(socket: &Path, sockets: &Sockets) -> bool {
    match sockets.find(socket) {
        Err(_) => !socket.exists(),
        Ok(path) => connect(&path).is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        }),
    }
}

/// Without waiting: whoever has no room for connections is there.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    mio::net::UnixStream::connect(socket).map(Into::into)
}

/// Whether the process with this id is the one that started then, and runs.
fn is_process(pid: u32, start: &str) -> bool {
    is_alive(pid) && start_mark(pid).as_deref() == Some(start)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn a_listener_descends_from_itself_and_from_those_above_it() {
        let dir = TempDir::new();
        let path = dir.path().join("a.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let me = std::process::id();
        assert!(descends(&path, me));
        assert!(ancestors(me).into_iter().all(|above| descends(&path, above)));
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(!descends(&path, child.id()), "it is below");
        assert!(!descends(&dir.path().join("none"), me));
        let start = start_mark(child.id()).unwrap();
        assert!(is_process(child.id(), &start) && !is_process(child.id(), "another"));
        child.kill().unwrap();
        // Until somebody waits for it, its id and its start are still there to be read.
        while is_process(child.id(), &start) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_socket_is_abandoned_when_nobody_listens() {
        let dir = TempDir::new();
        let peers = dir.path().join("peers");
        std::fs::create_dir(&peers).unwrap();
        let sockets = Sockets::new(peers.clone());
        let path = peers.join("a.sock");
        assert!(is_abandoned(&path, &sockets));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(!is_abandoned(&path, &sockets));
        drop(listener);
        assert!(is_abandoned(&path, &sockets));
        // What may not be connected to says nothing.
        assert!(!is_abandoned(dir.path(), &sockets));
    }
}
