//! (in the making)

use crate::config::Config;

#[derive(Clone, Copy, Debug)]
pub enum Mode {
    Foreground,
    Background,
}

pub fn run(_config: &Config, _mode: Mode) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
