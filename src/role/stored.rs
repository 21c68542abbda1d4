//! What `invite` and `join` have made of the data directory: the file `machines` in it.
//!
//! ```json
//! {"version":1,"role":"client","hub":{"id":"3f0c...","addresses":["10.0.0.5:7900"]},"token":"91ab..."}
//! ```
//!
//! It is written whole and renamed into its place, on the disk before anyone acts by it, and closed
//! to others: the token lets a machine in until it has been used.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::HubAddress;
use crate::files;
use crate::limits::{HUB_ADDRESSES_MAX, MACHINES_FILE_BYTES_MAX};
use crate::model::{InvitationToken, MachineId};

/// The form that this version reads and writes.
const VERSION: u32 = 1;

/// What is stored of the data directory's role. Nothing stored is a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It has invited: other machines may join it.
    Hub,
    /// It has joined another machine's mesh.
    Client {
        /// The hub it has joined.
        hub: KnownHub,
        /// What lets it in there for the first time; `None` once it has.
        token: Option<InvitationToken>,
    },
    /// By settings alone it has been a client of this hub, which is the one it stays with. Without
    /// these settings it is a broker.
    Pinned(KnownHub),
}

/// A hub whose key is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHub {
    /// Its id.
    pub id: MachineId,
    /// Where it was last reached, the best first; at most [`HUB_ADDRESSES_MAX`].
    pub addresses: Vec<HubAddress>,
}

/// Why the file cannot be used. The text says what to do about it.
#[derive(Debug)]
pub enum StoredError {
    /// It cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: "read", "write", "remove".
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// It says nothing that this version understands.
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// It was written by a newer slm-mesh.
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its form.
        version: u32,
    },
}

impl fmt::Display for StoredError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, action, source } => {
                write!(f, "cannot {action} {}: {source}", path.display())?;
                if source.kind() == io::ErrorKind::FileTooLarge {
                    f.write_str(HEAL)?;
                }
                Ok(())
            }
            Self::Content { path, why } => {
                write!(f, "{} cannot be used: {why}{HEAL}", path.display())
            }
            Self::Newer { path, version } => write!(
                f,
                "{} is of a newer slm-mesh (form {version}, and this one knows {VERSION}): use that \
                 one",
                path.display()
            ),
        }
    }
}

/// What to do about a file that is damaged.
const HEAL: &str = "; it says whose mesh this data directory is in: remove it, and then join or \
                    invite again";

impl std::error::Error for StoredError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Content { .. } | Self::Newer { .. } => None,
        }
    }
}

/// The file's text.
#[derive(Serialize, Deserialize)]
struct Form {
    version: u32,
    role: RoleForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hub: Option<HubForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Box<str>>,
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum RoleForm {
    Hub,
    Client,
    Pinned,
}

#[derive(Serialize, Deserialize)]
struct HubForm {
    id: MachineId,
    addresses: Vec<Box<str>>,
}

/// What is read before all else: a newer file may have anything else in it.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Reads the file `path`; `None` if there is none.
///
/// # Errors
///
/// There is one, and it cannot be used.
pub fn read(path: &Path) -> Result<Option<Stored>, StoredError> {
    let bytes = match files::read_bounded(path, MACHINES_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(path, "read", source)),
    };
    let content = |why: String| StoredError::Content { path: path.to_owned(), why: why.into() };
    let Version { version } =
        serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))?;
    if version > VERSION {
        return Err(StoredError::Newer { path: path.to_owned(), version });
    }
    let form: Form = serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))?;
    understood(form).map(Some).map_err(|why| content(why.to_owned()))
}

fn understood(form: Form) -> Result<Stored, &'static str> {
    let token = match form.token {
        Some(text) => Some(InvitationToken::parse(&text).ok_or("its token is none")?),
        None => None,
    };
    let hub = match form.hub {
        Some(HubForm { id, addresses }) => {
            if addresses.len() > HUB_ADDRESSES_MAX {
                return Err("it has too many addresses");
            }
            let addresses: Option<_> =
                addresses.iter().map(|text| HubAddress::parse(text)).collect();
            Some(KnownHub { id, addresses: addresses.ok_or("an address in it is none")? })
        }
        None => None,
    };
    match (form.role, hub, token) {
        (RoleForm::Hub, None, None) => Ok(Stored::Hub),
        (RoleForm::Client, Some(hub), token) => Ok(Stored::Client { hub, token }),
        (RoleForm::Pinned, Some(hub), None) => Ok(Stored::Pinned(hub)),
        _ => Err("what it has does not fit its role"),
    }
}

/// Writes `stored` to the file `path`, of which there is the old content or the new whatever happens.
/// Of more addresses than [`HUB_ADDRESSES_MAX`] the first are kept.
///
/// # Errors
///
/// The directory cannot be written to, or the disk is full.
pub fn write(path: &Path, stored: &Stored) -> Result<(), StoredError> {
    let hub = |known: &KnownHub| {
        let addresses = known.addresses.iter().take(HUB_ADDRESSES_MAX);
        let addresses = addresses.map(|address| address.to_string().into()).collect();
        Some(HubForm { id: known.id, addresses })
    };
    let (role, hub, token) = match stored {
        Stored::Hub => (RoleForm::Hub, None, None),
        Stored::Client { hub: known, token } => (RoleForm::Client, hub(known), *token),
        Stored::Pinned(known) => (RoleForm::Pinned, hub(known), None),
    };
    let form =
        Form { version: VERSION, role, hub, token: token.map(|token| token.to_string().into()) };
    let written = serde_json::to_vec(&form).map_err(io::Error::from).and_then(|mut text| {
        text.push(b'\n');
        files::replace(path, &text, 0o600)
    });
    written.map_err(|source| io_error(path, "write", source))
}

/// Forgets the role: from the next start on, the data directory is a broker's.
///
/// # Errors
///
/// The file is there and cannot be removed.
pub fn forget(path: &Path) -> Result<(), StoredError> {
    files::remove(path).map(drop).map_err(|source| io_error(path, "remove", source))
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> StoredError {
    StoredError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::files::tests::TempDir;

    const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const TOKEN: &str = "f0e1d2c3b4a5968778695a4b3c2d1e0f";

    fn hub() -> KnownHub {
        let addresses = ["10.0.0.5:7900", "[fd00::1]:7900", "box.local:7901"];
        let addresses = addresses.map(|text| HubAddress::parse(text).unwrap()).to_vec();
        KnownHub { id: MachineId::parse(ID).unwrap(), addresses }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = TempDir::new();
        let path = dir.path().join("machines");
        assert_eq!(read(&path).unwrap(), None);
        let token = InvitationToken::parse(TOKEN);
        for stored in [
            Stored::Hub,
            Stored::Client { hub: hub(), token },
            Stored::Client { hub: hub(), token: None },
            Stored::Pinned(hub()),
            Stored::Pinned(KnownHub { addresses: Vec::new(), ..hub() }),
        ] {
            write(&path, &stored).unwrap();
            assert_eq!(read(&path).unwrap(), Some(stored));
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        write(&path, &Stored::Client { hub: hub(), token }).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!(
                "{{\"version\":1,\"role\":\"client\",\"hub\":{{\"id\":\"{ID}\",\"addresses\":\
                 [\"10.0.0.5:7900\",\"[fd00::1]:7900\",\"box.local:7901\"]}},\"token\":\"{TOKEN}\"}}\n"
            )
        );
        assert!(!format!("{:?}", read(&path)).contains(TOKEN));
        forget(&path).unwrap();
        forget(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn more_addresses_than_are_read_are_not_written() {
        let dir = TempDir::new();
        let path = dir.path().join("machines");
        let addresses = vec![HubAddress::parse("a").unwrap(); HUB_ADDRESSES_MAX + 1];
        write(&path, &Stored::Pinned(KnownHub { addresses, ..hub() })).unwrap();
        let Some(Stored::Pinned(hub)) = read(&path).unwrap() else { panic!() };
        assert_eq!(hub.addresses.len(), HUB_ADDRESSES_MAX);
    }

    #[test]
    fn a_damaged_file_says_what_to_do() {
        let dir = TempDir::new();
        let path = dir.path().join("machines");
        let hub = format!("\"hub\":{{\"id\":\"{ID}\",\"addresses\":[]}}");
        let many = vec!["\"a\""; HUB_ADDRESSES_MAX + 1].join(",");
        for bad in [
            String::new(),
            "x".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            "{\"version\":-1,\"role\":\"hub\"}".to_owned(),
            "{\"version\":1}".to_owned(),
            "{\"version\":1,\"role\":\"broker\"}".to_owned(),
            "{\"version\":1,\"role\":\"client\"}".to_owned(),
            "{\"version\":1,\"role\":\"pinned\"}".to_owned(),
            format!("{{\"version\":1,\"role\":\"hub\",{hub}}}"),
            format!("{{\"version\":1,\"role\":\"client\",{hub},\"token\":\"x\"}}"),
            format!("{{\"version\":1,\"role\":\"pinned\",{hub},\"token\":\"{TOKEN}\"}}"),
            format!("{{\"version\":1,\"role\":\"client\",{}}}", hub.replace(ID, "x")),
            format!("{{\"version\":1,\"role\":\"client\",{}}}", hub.replace("[]", "[\"a b\"]")),
            format!(
                "{{\"version\":1,\"role\":\"client\",{}}}",
                hub.replace("[]", &format!("[{many}]"))
            ),
            " ".repeat(MACHINES_FILE_BYTES_MAX + 1),
        ] {
            std::fs::write(&path, &bad).unwrap();
            let said = read(&path).unwrap_err().to_string();
            assert!(said.contains("remove it, and then join"), "{bad}: {said}");
            assert!(said.contains(path.to_str().unwrap()), "{said}");
        }
        std::fs::write(&path, "{\"version\":2,\"role\":5}").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("newer"));
        // What a later version adds without a new form is passed over.
        std::fs::write(&path, "{\"version\":1,\"role\":\"hub\",\"more\":[]}").unwrap();
        assert_eq!(read(&path).unwrap(), Some(Stored::Hub));
    }
}
