//! Who acts in the mesh, and who has an inbox.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::PeerId;
use super::machine::MachineName;

/// Someone who acts in the mesh: sends, holds a lock, sets state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A registered peer.
    Peer(PeerId),
    /// The person at the command line of the hub; has an inbox, needs no registration.
    Cli,
    /// The person at the command line of another machine: `cli@NAME`.
    CliAt(MachineName),
    /// A script under a plain name, with `@` and the name of its machine if that is not the hub; has no
    /// inbox.
    Label(Box<str>),
}

/// What the person at the command line is called.
const CLI: &str = "cli";

impl Party {
    /// What a stored or written party is: a UUID is a peer, `cli` and `cli@NAME` are people at the
    /// command line, anything else is a label.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match PeerId::parse(text) {
            Some(id) => Self::Peer(id),
            None => Self::parse_name(text),
        }
    }

    /// The same for a text that is the id of no peer.
    #[must_use]
    pub fn parse_name(text: &str) -> Self {
        let machine = text.strip_prefix("cli@").and_then(MachineName::new);
        match machine {
            Some(machine) => Self::CliAt(machine),
            None if text == CLI => Self::Cli,
            None => Self::Label(text.into()),
        }
    }

    /// The person at the command line of a machine; none for the hub's own.
    #[must_use]
    pub fn cli_of(machine: Option<MachineName>) -> Self {
        machine.map_or(Self::Cli, Self::CliAt)
    }

    /// Whether it is a person at a command line.
    #[must_use]
    pub fn is_cli(&self) -> bool {
        matches!(self, Self::Cli | Self::CliAt(_))
    }

    /// The machine that is said in the name of a person or script; none for the hub's own, and for
    /// peers, whose names do not say it.
    #[must_use]
    pub fn machine(&self) -> Option<MachineName> {
        match self {
            Self::Peer(_) | Self::Cli => None,
            Self::CliAt(machine) => Some(*machine),
            Self::Label(label) => {
                label.split_once('@').and_then(|(_, machine)| MachineName::new(machine))
            }
        }
    }

    /// What this party is called on `machine` (none: on the hub, whose name is `hub`). There `cli` and
    /// a plain label are its own person and scripts, as they are on each machine.
    #[must_use]
    pub fn seen_from(self, machine: Option<MachineName>, hub: MachineName) -> Self {
        if machine.is_none() || matches!(self, Self::Peer(_)) {
            return self;
        }
        let of = self.machine();
        match self {
            Self::CliAt(_) if of == machine => Self::Cli,
            Self::Cli => Self::CliAt(hub),
            Self::Label(label) if of == machine => {
                Self::Label(label.split_once('@').map_or(&*label, |(own, _)| own).into())
            }
            Self::Label(label) if of.is_none() => Self::Label(format!("{label}@{hub}").into()),
            other => other,
        }
    }

    /// The peer, if it is one.
    #[must_use]
    pub fn peer(&self) -> Option<PeerId> {
        if let Self::Peer(id) = self { Some(*id) } else { None }
    }

    /// What a reader is shown for this party, whose name is `name`: a script calls itself what it
    /// likes, so that it is said to be one.
    #[must_use]
    pub fn shown_as<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self {
            Self::Peer(_) | Self::Cli | Self::CliAt(_) => Cow::Borrowed(name),
            Self::Label(_) => Cow::Owned(format!("script {name}")),
        }
    }

    /// Who reads mail under this party, if anyone does.
    #[must_use]
    pub fn inbox(&self) -> Option<Recipient> {
        match self {
            Self::Peer(id) => Some(Recipient::Peer(*id)),
            Self::Cli => Some(Recipient::Cli),
            Self::CliAt(machine) => Some(Recipient::CliAt(*machine)),
            Self::Label(_) => None,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(id) => id.fmt(f),
            Self::Cli => f.write_str(CLI),
            Self::CliAt(machine) => write!(f, "{CLI}@{machine}"),
            Self::Label(label) => f.write_str(label),
        }
    }
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Party {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

/// Someone who has an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    /// The person at the command line of the hub.
    Cli,
    /// The person at the command line of another machine.
    CliAt(MachineName),
    /// A registered peer.
    Peer(PeerId),
}

impl Recipient {
    /// The peer, if it is one.
    #[must_use]
    pub fn peer(self) -> Option<PeerId> {
        if let Self::Peer(id) = self { Some(id) } else { None }
    }
}

impl From<Recipient> for Party {
    fn from(recipient: Recipient) -> Self {
        match recipient {
            Recipient::Cli => Self::Cli,
            Recipient::CliAt(machine) => Self::CliAt(machine),
            Recipient::Peer(id) => Self::Peer(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str) -> MachineName {
        MachineName::new(name).unwrap()
    }

    #[test]
    fn a_person_elsewhere_is_written_with_the_machine() {
        let there = Party::CliAt(machine("laptop"));
        assert_eq!(there.to_string(), "cli@laptop");
        assert_eq!(Party::parse("cli@laptop"), there);
        assert_eq!(Party::parse("cli@Laptop"), there);
        assert_eq!(there.inbox(), Some(Recipient::CliAt(machine("laptop"))));
        for label in ["cli@", "cli@a b", "bot@laptop", "CLI"] {
            assert_eq!(Party::parse(label), Party::Label(label.into()));
        }
        assert_eq!(Party::parse("bot@laptop").machine(), Some(machine("laptop")));
        assert_eq!(Party::parse("bot").machine(), None);
    }

    #[test]
    fn each_machine_calls_its_own_person_and_scripts_by_their_plain_names() {
        let (laptop, hub) = (Some(machine("laptop")), machine("desk"));
        for (party, on_laptop) in [
            ("cli", "cli@desk"),
            ("cli@laptop", "cli"),
            ("cli@other", "cli@other"),
            ("bot", "bot@desk"),
            ("bot@laptop", "bot"),
            ("bot@other", "bot@other"),
            ("6f2b1c1e-0d4e-4b0e-9b57-0a1b2c3d4e5f", "6f2b1c1e-0d4e-4b0e-9b57-0a1b2c3d4e5f"),
        ] {
            assert_eq!(Party::parse(party).seen_from(laptop, hub).to_string(), on_laptop);
            assert_eq!(Party::parse(party).seen_from(None, hub).to_string(), party);
        }
    }
}
