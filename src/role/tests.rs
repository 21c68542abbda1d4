use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SELF: &str = "10.0.0.9";

fn config(asked: Asked) -> Config {
    let lookup = |name: &str| (name == "HOME").then(|| "/home/u".into());
    let config = Config::from_lookup(lookup, None, || Ok("/".into())).unwrap();
    Config { asked, ..config }
}

fn with_secret(asked: Asked) -> Config {
    Config { shared_secret: Secret::parse(SECRET), ..config(asked) }
}

fn resolved(config: &Config, stored: Option<&Stored>) -> Result<Resolved, RoleError> {
    resolve(config, stored, |address| address.to_string() == SELF)
}

/// The role, and where it came from.
fn role(config: &Config, stored: Option<&Stored>) -> (Role, Source) {
    let Resolved { role, source } = resolved(config, stored).unwrap();
    (role, source)
}

/// What is said instead of a role, and its word.
fn refused(config: &Config, stored: Option<&Stored>) -> (&'static str, String) {
    let error = resolved(config, stored).unwrap_err();
    (error.word(), error.to_string())
}

fn address(text: &str) -> HubAddress {
    HubAddress::parse(text).unwrap()
}

fn client(text: &str) -> Asked {
    Asked::Client { hub: Some(address(text)) }
}

fn hub(text: &str) -> Asked {
    Asked::Hub { listen: text.parse().unwrap() }
}

fn known() -> KnownHub {
    KnownHub { id: MachineId([7; 32]), addresses: vec![address("10.0.0.5:7901")] }
}

fn joined(token: Option<InvitationToken>) -> Stored {
    Stored::Client { hub: known(), token }
}

#[cfg(feature = "lan")]
fn bearer() -> Bearer {
    Bearer::Secret(Secret::parse(SECRET).unwrap())
}

#[cfg(feature = "lan")]
#[test]
fn what_is_stored_counts_where_no_variable_asks() {
    let nothing = config(Asked::Nothing);
    assert_eq!(role(&nothing, None), (Role::Broker, Source::Default));
    let pinned = Stored::Pinned(known());
    assert_eq!(role(&nothing, Some(&pinned)), (Role::Broker, Source::Default));
    let everywhere = Role::Hub { listen: "::".parse().unwrap() };
    assert_eq!(role(&nothing, Some(&Stored::Hub)), (everywhere.clone(), Source::Stored));
    // A hub is a broker.
    assert_eq!(role(&config(Asked::Broker), Some(&Stored::Hub)), (everywhere, Source::Stored));
    let relay =
        |bearer| Role::Relay { hub: Some(known().id), addresses: known().addresses, bearer };
    assert_eq!(role(&nothing, Some(&joined(None))), (relay(Bearer::Known), Source::Stored));
    let token = InvitationToken::parse(SECRET).unwrap();
    assert_eq!(
        role(&with_secret(Asked::Nothing), Some(&joined(Some(token)))),
        (relay(Bearer::Invitation(token)), Source::Stored)
    );
    let asked = Asked::Client { hub: None };
    assert_eq!(role(&config(asked), Some(&joined(None))), (relay(Bearer::Known), Source::Stored));
}

#[cfg(feature = "lan")]
#[test]
fn a_variable_makes_a_role_of_none() {
    let by_host = Source::Variable("SLM_MESH_HOST");
    let by_role = Source::Variable("SLM_MESH_ROLE");
    for stored in [None, Some(Stored::Pinned(known()))] {
        let stored = stored.as_ref();
        assert_eq!(role(&config(Asked::Broker), stored), (Role::Broker, by_role));
        let listen = Role::Hub { listen: SELF.parse().unwrap() };
        assert_eq!(role(&config(hub(SELF)), stored), (listen, by_host));
    }
    let listen = Role::Hub { listen: "0.0.0.0".parse().unwrap() };
    assert_eq!(role(&config(hub("0.0.0.0")), Some(&Stored::Hub)), (listen, by_host));

    let addresses = vec![address("box.local:7900")];
    let relay = Role::Relay { hub: None, addresses: addresses.clone(), bearer: bearer() };
    assert_eq!(role(&with_secret(client("box.local")), None), (relay, by_host));
    let seen = Role::Relay { hub: None, addresses: Vec::new(), bearer: bearer() };
    assert_eq!(role(&with_secret(Asked::Client { hub: None }), None), (seen, by_role));

    // The hub that it was a client of is the one it stays with, wherever it is now.
    let pinned = Stored::Pinned(known());
    let relay =
        |bearer| Role::Relay { hub: Some(known().id), addresses: addresses.clone(), bearer };
    assert_eq!(role(&with_secret(client("box.local")), Some(&pinned)).0, relay(bearer()));
    assert_eq!(role(&config(client("box.local")), Some(&pinned)).0, relay(Bearer::Known));
    assert_eq!(
        role(&with_secret(client("box.local")), Some(&joined(None))).0,
        relay(Bearer::Known),
    );
    let asked = Asked::Client { hub: None };
    let relay =
        Role::Relay { hub: Some(known().id), addresses: known().addresses, bearer: Bearer::Known };
    assert_eq!(role(&config(asked), Some(&pinned)).0, relay);
}

#[test]
fn a_variable_does_not_change_the_mesh_of_a_directory() {
    let joined = joined(None);
    for (asked, stored, variable, said) in [
        (Asked::Broker, &joined, "SLM_MESH_ROLE", "it has joined"),
        (hub("0.0.0.0"), &joined, "SLM_MESH_HOST", "it has joined"),
        (client("x"), &Stored::Hub, "SLM_MESH_HOST", "were invited"),
        (Asked::Client { hub: None }, &Stored::Hub, "SLM_MESH_ROLE", "were invited"),
    ] {
        let (word, text) = refused(&with_secret(asked), Some(stored));
        assert_eq!(word, "other_role");
        assert!(text.starts_with(variable) && text.contains(said), "{text}");
        for way in [&format!("unset {variable}"), "`slm-mesh leave`", "SLM_MESH_DATA_DIR"] {
            assert!(text.contains(way), "{text}");
        }
    }
}

#[test]
fn a_variable_does_not_change_what_serves() {
    for (asked, good) in [
        (Asked::Nothing, &[Kind::Broker, Kind::Hub, Kind::Client][..]),
        (Asked::Broker, &[Kind::Broker, Kind::Hub]),
        (hub("::"), &[Kind::Hub]),
        (client("x"), &[Kind::Client]),
        (Asked::Client { hub: None }, &[Kind::Client]),
    ] {
        for is in [Kind::Broker, Kind::Hub, Kind::Client] {
            let checked = check_serving(&asked, is);
            assert_eq!(checked.is_ok(), good.contains(&is), "{asked:?} {is:?}");
            if let Err(other) = checked {
                let text = other.to_string();
                assert!(text.contains("served by") && text.contains("`slm-mesh stop`"), "{text}");
            }
            assert_eq!(Kind::parse(is.as_str()), Some(is));
        }
    }
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    let own = with_secret(client(SELF));
    let (word, text) = refused(&own, None);
    assert_eq!(word, "invalid_setting");
    assert!(text.contains(SELF) && text.contains("set SLM_MESH_ROLE=broker too"), "{text}");
    for asked in [client("x"), Asked::Client { hub: None }] {
        let (_, text) = refused(&config(asked), None);
        assert!(text.contains("`slm-mesh invite`") && text.contains("SHARED_SECRET"), "{text}");
    }
    let blind = Config { discovery: false, ..with_secret(Asked::Client { hub: None }) };
    assert!(refused(&blind, None).1.contains("set SLM_MESH_HOST"));
}

#[cfg(feature = "lan")]
#[test]
fn the_end_of_a_tunnel_is_no_address_of_its_own() {
    let config = with_secret(client("127.0.0.1:7901"));
    assert!(resolve(&config, None, |_| true).is_ok());
}

#[cfg(not(feature = "lan"))]
#[test]
fn a_build_without_network_serves_one_machine() {
    assert_eq!(role(&config(Asked::Nothing), None), (Role::Broker, Source::Default));
    for (asked, stored) in [
        (Asked::Nothing, Some(Stored::Hub)),
        (Asked::Nothing, Some(joined(None))),
        (hub("::"), None),
        (client("x"), None),
    ] {
        let (word, text) = refused(&with_secret(asked), stored.as_ref());
        assert_eq!(word, "no_network");
        assert!(text.starts_with("this build has no network"));
    }
}
