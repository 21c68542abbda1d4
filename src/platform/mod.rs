//! The operating system: what std does not offer, and whatever differs between Linux and macOS.
//!
//! Linux is built, tested and measured. macOS takes the same paths, with these differences, all of
//! them in here:
//!
//! | | Linux | macOS |
//! |---|---|---|
//! | end of another process | [`ProcessWatch`] (pidfd) | unsupported: ask [`is_alive`] now and then |
//! | other end of a socket | [`peer_credentials`]: user and pid | neither is known |
//! | facts about a process | `/proc` | `ps` |
//! | news of a directory | [`DirectoryWatch`] (inotify) | unsupported: look now and then |
//! | length of a socket's path | 107 bytes | 103 bytes |
//! | which running of the machine | [`boot_id`] | not known |
//!
//! Process ids are `u32` as in std. 0, which means "my process group" to some system calls, and
//! what is no process id at all are refused here.
//!
//! No rule of the mesh is decided here.

mod boot;
mod credentials;
mod descriptors;
mod directory;
mod inspect;
mod lock;
mod process;
mod program;
mod stream;
mod terminal;
mod turns;
mod watch;

pub use boot::{boot_id, host_name, time_since_boot};
pub use credentials::{PeerCredentials, peer_credentials};
pub use descriptors::{
    close_others_on_exec, null_stdin, null_stdout, poll_readable, poll_writable,
    raise_descriptor_limit, redirect_stderr, redirect_stdout,
};
pub use directory::DirectoryWatch;
pub use inspect::{
    ancestors, command_line, command_name, executable, is_executable_replaced, processes,
    shares_network, start_mark, working_directory,
};
pub use lock::{BrokerLock, LockHolder, lock_holder};
pub use process::{Signal, current_uid, is_alive, kill_group, new_session, parent, send_signal};
pub use program::{is_program, own_executable};
pub use stream::{Address, Listener, Stream};
pub use terminal::{stderr_is_terminal, stdin_is_terminal, stdout_is_terminal, terminal_width};
pub use turns::lock_dir;
pub use watch::{ParentWatch, ProcessWatch, watch_parent};
