//! The shared secret of `SLM_MESH_SHARED_SECRET`, and how each side proves to the other that it has it.
//!
//! It never goes over the wire. A proof is made for one TLS connection (bound to it as in RFC 9266), one
//! hub, one client and one direction. Whoever stands in the middle has another connection to each
//! side, and other keys: what it hears proves nothing elsewhere or later.

use std::fmt;

use ring::hmac;

use crate::config::Secret;
use crate::model::{MachineId, hex, unhex};

/// What a TLS connection has for a secret of its own (RFC 8446 section 7.5).
pub type Exporter = [u8; 32];

/// Who proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The relay, which proves first.
    Client,
    /// The hub, which proves only to whoever has.
    Hub,
}

/// The key made of the shared secret: HKDF-SHA-256 (RFC 5869).
#[derive(Clone)]
pub struct SharedKey(hmac::Key);

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(hidden)")
    }
}

impl SharedKey {
    /// The key of this secret, which has to be the same to the character on both sides.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let sign =
            |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        // RFC 5869: extract without salt, then expand to one block.
        let extracted = sign(&[], secret.reveal().as_bytes());
        let expanded = sign(extracted.as_ref(), b"slm-mesh shared secret\x01");
        Self(hmac::Key::new(hmac::HMAC_SHA256, expanded.as_ref()))
    }

    /// What is proved by: HMAC-SHA-256 (RFC 2104) over who proves, the connection, and both machines.
    fn said(side: Side, exporter: &Exporter, hub: MachineId, client: MachineId) -> Vec<u8> {
        let side: &[u8] = match side {
            Side::Client => b"client",
            Side::Hub => b"hub",
        };
        // The three behind it have one length each, so no two statements are the same bytes.
        [side, exporter, &hub.0, &client.0].concat()
    }

    /// The proof of `side` that it has the secret.
    #[must_use]
    pub fn prove(
        &self,
        side: Side,
        exporter: &Exporter,
        hub: MachineId,
        client: MachineId,
    ) -> Proof {
        let tag = hmac::sign(&self.0, &Self::said(side, exporter, hub, client));
        let mut proof = [0; 32];
        proof.copy_from_slice(tag.as_ref());
        Proof(proof)
    }

    /// Whether `proof` is that of `side`; compared in constant time.
    #[must_use]
    pub fn is_proved(
        &self,
        proof: &Proof,
        side: Side,
        exporter: &Exporter,
        hub: MachineId,
        client: MachineId,
    ) -> bool {
        hmac::verify(&self.0, &Self::said(side, exporter, hub, client), &proof.0).is_ok()
    }
}

/// A proof that one side has the shared secret: 64 hexadecimal digits as text.
#[derive(Clone, Copy)]
pub struct Proof([u8; 32]);

impl Proof {
    /// Reads the digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: MachineId = MachineId([1; 32]);
    const CLIENT: MachineId = MachineId([2; 32]);
    const EXPORTER: Exporter = [3; 32];

    fn key(text: &str) -> SharedKey {
        SharedKey::new(&Secret::parse(text).unwrap())
    }

    #[test]
    fn a_proof_is_for_one_side_connection_and_pair() {
        let shared = key("0123456789abcdef0123456789abcdef");
        let proof = shared.prove(Side::Client, &EXPORTER, HUB, CLIENT);
        let proof = Proof::parse(&proof.to_string()).unwrap();
        assert!(shared.is_proved(&proof, Side::Client, &EXPORTER, HUB, CLIENT));
        // Reflected, replayed on another connection, and that of another pair.
        assert!(!shared.is_proved(&proof, Side::Hub, &EXPORTER, HUB, CLIENT));
        assert!(!shared.is_proved(&proof, Side::Client, &[4; 32], HUB, CLIENT));
        assert!(!shared.is_proved(&proof, Side::Client, &EXPORTER, MachineId([9; 32]), CLIENT));
        assert!(!shared.is_proved(&proof, Side::Client, &EXPORTER, HUB, MachineId([9; 32])));
        assert!(!shared.is_proved(&proof, Side::Client, &EXPORTER, CLIENT, HUB));
        let other = key("0123456789abcdef0123456789abcdee");
        assert!(!other.is_proved(&proof, Side::Client, &EXPORTER, HUB, CLIENT));
    }

    #[test]
    fn a_proof_is_hmac_of_hkdf() {
        // Reckoned with Python's hmac and hashlib, so that another version proves the same.
        let proof =
            key("0123456789abcdef0123456789abcdef").prove(Side::Client, &EXPORTER, HUB, CLIENT);
        assert_eq!(proof.to_string(), PROOF_BY_PYTHON);
        assert_eq!(format!("{proof:?}"), "Proof(hidden)");
        assert!(Proof::parse("00").is_none());
    }

    const PROOF_BY_PYTHON: &str =
        "ad14907dbc3938ea55dabe57558dc514a5716b4de98885de551c58ff117b9de3";
}
