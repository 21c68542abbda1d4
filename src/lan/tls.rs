//! TLS as machines speak it: version 1.3, raw public keys both ways (RFC 7250), Ed25519, no tickets, no
//! resumption, no early data, no name of the server.
//!
//! After the handshake each side knows that the other has the key it shows. Whether that key is
//! welcome is another question: a hub lets any through to the rule that decides, and so does a relay
//! that has nothing but the shared secret; a relay that knows its hub lets that one key through.
//!
//! A session that was resumed would not have been looked at, so there is none.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::ring::{cipher_suite, kx_group, sign};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::SigningKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, CommonState, Connection, DigitallySignedStruct,
    DistinguishedName, Error, OtherError, PeerIncompatible, ServerConfig, SignatureScheme,
};

use super::key::{MachineKey, id_of};
use super::secret::Exporter;
use crate::model::MachineId;

/// The protocol within TLS (ALPN, RFC 7301). Another major version would have another name.
const PROTOCOL: &[u8] = b"slm-mesh/1";
/// What the exporter is asked for (RFC 8446 section 7.5).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-slm-mesh";

/// The signatures that are taken: Ed25519.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::ring::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::ring::ED25519])],
};

/// What a hub accepts connections with. One for all of them.
///
/// # Errors
///
/// None with the algorithms named here; rustls checks whether they go together.
pub fn hub(key: &MachineKey) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(AnyMachine))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key.certified())));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// What a relay connects with, to the hub with this id or, with none, to any.
///
/// # Errors
///
/// As [`hub`].
pub fn relay(key: &MachineKey, hub: Option<MachineId>) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(HubVerifier { expected: hub }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            key.certified(),
        )));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// The name that rustls asks for. It is neither sent nor looked at.
///
/// # Errors
///
/// None: it is a name.
pub fn no_name() -> Result<ServerName<'static>, Error> {
    ServerName::try_from("slm-mesh.invalid").map_err(|_| Error::General("no name".to_owned()))
}

/// Whose connection it is, and what it has for a secret of its own.
#[derive(Debug, Clone, Copy)]
pub struct Met {
    /// The machine at the other end.
    pub machine: MachineId,
    /// The same at both ends, and of no other connection.
    pub exporter: Exporter,
}

/// Who is at the other end of a connection whose handshake is done.
///
/// # Errors
///
/// It speaks TLS 1.3, but not as a machine of a mesh does.
pub fn met(tls: &Connection) -> Result<Met, Error> {
    if tls.alpn_protocol() != Some(PROTOCOL) {
        return Err(Error::NoApplicationProtocol);
    }
    let machine = shown(tls).ok_or(Error::NoCertificatesPresented)?;
    let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
    Ok(Met { machine, exporter })
}

fn shown(state: &CommonState) -> Option<MachineId> {
    id_of(state.peer_certificates()?.first()?)
}

/// Another hub than the one that was expected. It has not proved that the key is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnotherHub {
    /// The hub that was expected.
    pub expected: MachineId,
    /// The one that answers.
    pub found: MachineId,
}

impl AnotherHub {
    /// The one in an error of rustls, if that was the reason.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                other.downcast_ref().copied()
            }
            _ => None,
        }
    }
}

impl fmt::Display for AnotherHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "another hub answers there: its id begins with {}, that of ours with {}",
            self.found.short(),
            self.expected.short()
        )
    }
}

impl std::error::Error for AnotherHub {}

/// What both verifiers have in common: TLS 1.3 alone, with raw public keys and Ed25519.
macro_rules! raw_ed25519_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

/// Lets any machine through: the hub's rule decides when it asks for the upgrade.
#[derive(Debug)]
struct AnyMachine;

impl ClientCertVerifier for AnyMachine {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        machine(end_entity).map(|_| ClientCertVerified::assertion())
    }

    raw_ed25519_only!();
}

/// Lets one hub through, or any.
#[derive(Debug)]
struct HubVerifier {
    expected: Option<MachineId>,
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = machine(end_entity)?;
        match self.expected {
            Some(expected) if expected != found => {
                let error = OtherError(Arc::new(AnotherHub { expected, found }));
                Err(CertificateError::Other(error).into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    raw_ed25519_only!();
}

/// The machine that has this key, which stands where a certificate would.
fn machine(key: &CertificateDer<'_>) -> Result<MachineId, Error> {
    id_of(key).ok_or_else(|| CertificateError::BadEncoding.into())
}

fn signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(key.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, dss, &SIGNATURES)
}

/// What TLS is made of: X25519, two ciphers, Ed25519. All of it is *ring*'s; what is not named here
/// (RSA, the NIST curves, SHA-384) is not in the binary.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519],
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Ring,
        key_provider: &Ring,
    })
}

#[derive(Debug)]
struct Ring;

impl SecureRandom for Ring {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Ring {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        match key {
            PrivateKeyDer::Pkcs8(key) => sign::any_eddsa_type(&key),
            _ => Err(Error::General("not a machine key".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::{AlertDescription, ClientConnection, InvalidMessage, ServerConnection};

    use super::*;
    use crate::files::tests::TempDir;

    fn key() -> MachineKey {
        let dir = TempDir::new();
        MachineKey::load_or_make(&dir.path().join("machine.key")).unwrap()
    }

    fn client(config: Arc<ClientConfig>) -> ClientConnection {
        ClientConnection::new(config, no_name().unwrap()).unwrap()
    }

    fn server(key: &MachineKey) -> ServerConnection {
        ServerConnection::new(hub(key).unwrap()).unwrap()
    }

    /// Carries records over until both are done, or says why one is not: the client's error first.
    fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), Error> {
        while client.wants_write() || server.wants_write() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            while !wire.is_empty() {
                let mut rest = wire.as_slice();
                server.read_tls(&mut rest).unwrap();
                wire = rest.to_vec();
                server.process_new_packets()?;
            }
            let mut back = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut back).unwrap();
            }
            let mut rest = back.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn each_learns_who_the_other_is() {
        let (hub, machine) = (key(), key());
        for expected in [None, Some(hub.id())] {
            let mut client = client(relay(&machine, expected).unwrap());
            let mut server = server(&hub);
            shake(&mut client, &mut server).unwrap();
            assert!(!client.is_handshaking() && !server.is_handshaking());
            let at_client = met(&client.into()).unwrap();
            let at_server = met(&server.into()).unwrap();
            assert_eq!((at_client.machine, at_server.machine), (hub.id(), machine.id()));
            assert_eq!(at_client.exporter, at_server.exporter);
            assert_ne!(at_client.exporter, [0; 32]);
        }
    }

    #[test]
    fn another_hub_than_the_one_that_is_expected_is_not_talked_to() {
        let (hub, other, machine) = (key(), key(), key());
        let mut client = client(relay(&machine, Some(hub.id())).unwrap());
        let error = shake(&mut client, &mut server(&other)).unwrap_err();
        let another = AnotherHub::of(&error).unwrap();
        assert_eq!(another, AnotherHub { expected: hub.id(), found: other.id() });
        assert!(another.to_string().contains(&other.id().short()), "{another}");
    }

    #[test]
    fn no_session_is_resumed() {
        let (hub, machine) = (key(), key());
        // A client that would, and a server that is the same for both connections.
        let mut config = Arc::unwrap_or_clone(relay(&machine, Some(hub.id())).unwrap());
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        let at_hub = super::hub(&hub).unwrap();
        for _ in 0..2 {
            let mut client = client(Arc::clone(&config));
            let mut server = ServerConnection::new(Arc::clone(&at_hub)).unwrap();
            shake(&mut client, &mut server).unwrap();
            let kinds = [client.handshake_kind(), server.handshake_kind()];
            assert_eq!(kinds, [Some(rustls::HandshakeKind::Full); 2]);
            assert_eq!(client.tls13_tickets_received(), 0);
        }
    }

    #[test]
    fn another_protocol_within_is_refused() {
        let (hub, machine) = (key(), key());
        let mut config = Arc::unwrap_or_clone(relay(&machine, None).unwrap());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut other = client(Arc::new(config.clone()));
        let error = shake(&mut other, &mut server(&hub)).unwrap_err();
        assert_eq!(error, Error::NoApplicationProtocol);
        config.alpn_protocols = Vec::new();
        let (mut silent, mut server) = (client(Arc::new(config)), server(&hub));
        shake(&mut silent, &mut server).unwrap();
        assert_eq!(met(&server.into()).unwrap_err(), Error::NoApplicationProtocol);
    }

    #[test]
    fn a_client_without_a_key_is_refused() {
        let hub = key();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(HubVerifier { expected: None }))
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let error = shake(&mut client(Arc::new(config)), &mut server(&hub)).unwrap_err();
        assert!(matches!(error, Error::NoCertificatesPresented | Error::PeerIncompatible(_)));
    }

    #[test]
    fn a_key_that_is_not_one_s_own_is_of_no_use() {
        // The hub's key is public: it is shown with another's signature.
        let (hub, thief, machine) = (key(), key(), key());
        let stolen = rustls::sign::CertifiedKey::new(
            vec![CertificateDer::from(hub.spki().to_vec())],
            Arc::clone(&thief.certified().key),
        );
        let mut config = Arc::unwrap_or_clone(super::hub(&thief).unwrap());
        config.cert_resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(stolen)));
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let mut client = client(relay(&machine, Some(hub.id())).unwrap());
        let error = shake(&mut client, &mut server).unwrap_err();
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::BadSignature)),
            "{error}"
        );
    }

    #[test]
    fn older_versions_and_other_protocols_are_refused() {
        // A ClientHello of TLS 1.2: version, random, no session, one cipher, no compression,
        // and Ed25519 as the signature.
        let signatures = [0, 8, 0, 13, 0, 4, 0, 2, 8, 7];
        let body =
            [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x2b], &[1, 0], &signatures].concat();
        let hello = [&[1, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
        let record = [&[22, 3, 1, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
        let hub = key();
        let mut server = self::server(&hub);
        server.read_tls(&mut record.as_slice()).unwrap();
        let error = server.process_new_packets().unwrap_err();
        assert!(matches!(error, Error::PeerIncompatible(_)), "{error}");
        let mut said = Vec::new();
        server.write_tls(&mut said).unwrap();
        let version = u8::from(AlertDescription::ProtocolVersion);
        assert_eq!(said, [21, 3, 3, 0, 2, 2, version], "and is told why");

        let mut server = self::server(&hub);
        server.read_tls(&mut &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..]).unwrap();
        let error = server.process_new_packets().unwrap_err();
        assert!(matches!(error, Error::InvalidMessage(InvalidMessage::InvalidContentType)));
        assert!(server.writer().write(b"x").is_err() && server.reader().read(&mut [0]).is_err());
    }
}
