//! The machine key: what other machines know this data directory by.
//!
//! An Ed25519 key in PKCS#8 (RFC 5958, RFC 8410) with its public half, so that a damaged file is
//! noticed. It is made once and kept: with another key this would be another machine, which would
//! have to join anew.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustix::fs::OFlags;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::files;
use crate::limits::MACHINE_KEY_BYTES_MAX;
use crate::model::MachineId;
use crate::platform::current_uid;

/// What stands before the 32 bytes of an Ed25519 public key in a `SubjectPublicKeyInfo` (RFC 8410
/// section 4). There is one encoding (DER), so a key has one id.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
/// Length of a `SubjectPublicKeyInfo`, bytes.
const SPKI_BYTES: usize = SPKI_HEAD.len() + 32;

/// A machine key, both halves.
#[derive(Clone)]
pub struct MachineKey {
    id: MachineId,
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineKey({})", self.id)
    }
}

/// Why there is no machine key. Says what to do.
#[derive(Debug)]
pub enum KeyError {
    /// The file cannot be read or made.
    Io(PathBuf, io::Error),
    /// The file is another user's.
    Foreign(PathBuf),
    /// Others may read or write the file; its mode.
    Open(PathBuf, u32),
    /// What is in the file is no machine key, and why.
    Damaged(PathBuf, String),
    /// The system has no random bytes.
    NoEntropy,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => {
                write!(f, "the machine key {} cannot be used: {error}", path.display())
            }
            Self::Foreign(path) => write!(
                f,
                "the machine key {0} belongs to another user: remove it, and a new one is made; this \
                 machine then has to join again",
                path.display()
            ),
            Self::Open(path, mode) => write!(
                f,
                "others may use the machine key {0} (mode {mode:04o}): if nobody has, `chmod 600 {0}`; \
                 otherwise remove it, remove this machine on its hub, and join again",
                path.display()
            ),
            Self::Damaged(path, why) => write!(
                f,
                "{} is no machine key ({why}): put back a copy, or remove it, and a new one is made; \
                 this machine then has to join again",
                path.display()
            ),
            Self::NoEntropy => f.write_str("the system has no random bytes for a machine key"),
        }
    }
}

impl std::error::Error for KeyError {}

impl MachineKey {
    /// The key in the file `path`, which is made if it is not there. Two processes that make it at
    /// the same time get the same key.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn load_or_make(path: &Path) -> Result<Self, KeyError> {
        match read(path) {
            Err(KeyError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
            other => return Self::of_file(path, &other?),
        }
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let made = made.map_err(|_| KeyError::NoEntropy)?;
        // If another process was first, its key is the one.
        let _ = files::create_private(path, made.as_ref())
            .map_err(|error| KeyError::Io(path.to_owned(), error))?;
        Self::of_file(path, &read(path)?)
    }

    fn of_file(path: &Path, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let damaged = |why: String| KeyError::Damaged(path.to_owned(), why);
        if id_of(pkcs8).is_some() {
            return Err(damaged("its private half is missing".to_owned()));
        }
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|error| damaged(error.to_string()))?;
        let spki = [&SPKI_HEAD, pair.public_key().as_ref()].concat();
        let id = id_of(&spki).ok_or_else(|| damaged("it is no Ed25519 key".to_owned()))?;
        let signing = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))
            .map_err(|error| damaged(error.to_string()))?;
        let certified = CertifiedKey::new(vec![CertificateDer::from(spki)], signing);
        Ok(Self { id, certified: Arc::new(certified) })
    }

    /// The id of the machine that has this key.
    #[must_use]
    pub fn id(&self) -> MachineId {
        self.id
    }

    /// Its `SubjectPublicKeyInfo`, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        self.certified.cert.first().map(AsRef::as_ref).unwrap_or_default()
    }

    /// The key as TLS presents it: a raw public key stands in the place of a certificate (RFC 7250).
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// The id of the machine that has the key with this `SubjectPublicKeyInfo`. `None` for one of any kind
/// but Ed25519.
#[must_use]
pub fn id_of(spki: &[u8]) -> Option<MachineId> {
    (spki.len() == SPKI_BYTES && spki.starts_with(&SPKI_HEAD))
        .then(|| MachineId(Sha256::digest(spki).into()))
}

/// What is in the file, if it is a private one of ours.
fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    let io = |error| KeyError::Io(path.to_owned(), error);
    let file = files::open_regular(path, OpenOptions::new().read(true), OFlags::NOFOLLOW);
    let file = file.map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.uid() != current_uid() {
        return Err(KeyError::Foreign(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o177 != 0 {
        return Err(KeyError::Open(path.to_owned(), mode));
    }
    let mut bytes = Vec::new();
    file.take(MACHINE_KEY_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::files::tests::TempDir;

    /// A key in a directory of its own.
    fn made() -> (TempDir, PathBuf, MachineKey) {
        let dir = TempDir::new();
        let path = dir.path().join("machine.key");
        let key = MachineKey::load_or_make(&path).unwrap();
        (dir, path, key)
    }

    /// What is said of the file with these bytes in it.
    fn said_of(bytes: &[u8]) -> String {
        let (_dir, path, _) = made();
        fs::write(&path, bytes).unwrap();
        let error = MachineKey::load_or_make(&path).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is replaced");
        error.to_string().replace(path.to_str().unwrap(), "FILE")
    }

    #[test]
    fn it_is_made_once_and_kept() {
        let (dir, path, key) = made();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert_eq!(MachineKey::load_or_make(&path).unwrap().id(), key.id());
        assert_eq!(id_of(key.spki()), Some(key.id()));
        assert_ne!(made().2.id(), key.id());
        assert_eq!(format!("{key:?}"), format!("MachineKey({})", key.id()));
    }

    #[test]
    fn who_makes_it_at_the_same_time_gets_the_same() {
        let dir = TempDir::new();
        let path = dir.path().join("machine.key");
        let makers: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || MachineKey::load_or_make(&path).unwrap().id())
            })
            .collect();
        let ids: Vec<_> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(MachineKey::load_or_make(&path).unwrap().id(), ids[0]);
    }

    #[test]
    fn what_is_no_key_is_told_and_left_alone() {
        let (_dir, path, key) = made();
        let bytes = fs::read(&path).unwrap();
        let whole = "put back a copy, or remove it";
        let public = said_of(key.spki());
        assert!(public.starts_with("FILE is no machine key (its private half is missing): "));
        assert!(public.contains(whole), "{public}");
        for bad in [&b""[..], b"secret", &bytes[..bytes.len() - 1], &[&bytes[..], b"\n"].concat()] {
            assert!(said_of(bad).contains(whole), "{bad:?}");
        }
        // One bit of either half.
        for at in [20, bytes.len() - 1] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(said_of(&bad).contains(whole), "{at}");
        }
        assert!(said_of(&vec![b'x'; 2 * MACHINE_KEY_BYTES_MAX]).contains(whole));
    }

    #[test]
    fn a_key_that_others_could_have_is_not_used() {
        let (_dir, path, _) = made();
        for mode in [0o640, 0o604, 0o660, 0o700] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = MachineKey::load_or_make(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("(mode {mode:04o})")), "{error}");
            assert!(error.contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(MachineKey::load_or_make(&path).is_ok());
        let link = path.with_file_name("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(MachineKey::load_or_make(&link), Err(KeyError::Io(..))));
    }

    #[test]
    fn only_ed25519_has_an_id() {
        let (_dir, _, key) = made();
        let spki = key.spki();
        assert_eq!(id_of(&spki[..43]), None);
        assert_eq!(id_of(&[spki, &[0]].concat()), None);
        for at in 0..SPKI_HEAD.len() {
            let mut other = spki.to_vec();
            other[at] ^= 1;
            assert_eq!(id_of(&other), None, "{at}");
        }
    }
}
