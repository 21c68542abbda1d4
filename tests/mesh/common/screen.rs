//! A terminal, as a program sees it: a pseudo terminal, and what is on its screen.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use vt100::Parser;

use super::{PATIENCE, Running, wait_until};

/// See the module.
pub(crate) struct Screen {
    master: File,
    /// The program's end; kept open, so that its modes can be looked at when the program has gone.
    slave: File,
    parser: Arc<Mutex<Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// A terminal of so many columns and lines.
    pub(crate) fn new(width: u16, height: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_bytes();
        let name = std::ffi::OsString::from_vec(name);
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let master = File::from(master);
        let parser = Arc::new(Mutex::new(Parser::new(height, width, 0)));
        let raw = Arc::default();
        let this = Self { master, slave, parser, raw };
        this.set_size(width, height);
        let mut reader = this.master.try_clone().unwrap();
        let (parser, raw) = (Arc::clone(&this.parser), Arc::clone(&this.raw));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut bytes) {
                parser.lock().unwrap().process(&bytes[..len]);
                raw.lock().unwrap().extend_from_slice(&bytes[..len]);
            }
        });
        this
    }

    /// Another size. A program is told by SIGWINCH only if this is its controlling terminal.
    pub(crate) fn set_size(&self, width: u16, height: u16) {
        self.parser.lock().unwrap().screen_mut().set_size(height, width);
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Starts a program on it.
    pub(crate) fn start(&self, mut command: Command) -> Running {
        let end = || self.slave.try_clone().unwrap();
        command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        Running(command.spawn().unwrap())
    }

    /// Types.
    pub(crate) fn type_keys(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).unwrap();
    }

    /// What can be read on it, line by line.
    pub(crate) fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until a text stands on it.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait(&format!("{text:?} on the screen"), |screen| screen.contains(text));
    }

    /// Waits until it looks so.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if is_so(&text) {
                return;
            }
            assert!(std::time::Instant::now() < until, "no {what}:\n{text}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Its modes (termios), to be compared.
    pub(crate) fn modes(&self) -> String {
        format!("{:?}", tcgetattr(&self.slave).unwrap())
    }

    /// Whether it shows its second screen, which leaves the first as it was.
    pub(crate) fn is_taken(&self) -> bool {
        self.parser.lock().unwrap().screen().alternate_screen()
    }

    /// Waits until it is as it was before a program had it.
    #[track_caller]
    pub(crate) fn wait_until_given_back(&self, modes: &str) {
        wait_until("the first screen", || !self.is_taken());
        assert_eq!(self.modes(), modes);
        let parser = self.parser.lock().unwrap();
        assert!(!parser.screen().hide_cursor() && !parser.screen().bracketed_paste());
    }

    /// All that was ever written to it.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.raw.lock().unwrap().clone()
    }
}
