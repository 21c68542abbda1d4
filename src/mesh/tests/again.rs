//! What was told, or is being told, and may have to be told again: that nobody forgets it, and that
//! nobody looks at it in vain.

use super::*;

fn queue() -> Value {
    json!({"claim": "queue"})
}

/// Claims all there is by a queue, and marks it so.
fn mark_all(mesh: &mut Mesh<MemoryStore>, now: Now) -> Vec<Value> {
    let claimed = tell(mesh, &json!({"claim": "queue", "limit": CLAIMED_MAX}), now);
    let messages = claimed["messages"].as_array().unwrap();
    let ids: Vec<Value> = messages.iter().map(|message| message["id"].clone()).collect();
    let mark = json!({"markSent": ids, "way": "queue", "status": "sent",
        "claimId": claimed["claimId"]});
    assert_eq!(tell(mesh, &mark, now)["marked"], ids.len());
    ids
}

fn send(mesh: &mut Mesh<MemoryStore>, text: &str, now: Now) {
    post(mesh, &json!({"fromPeer": "cli", "toPeer": "bob", "payload": text}), now);
}

#[test]
fn what_was_told_and_never_proven_is_not_looked_at_with_each_claim() {
    let mut mesh = mesh(300);
    let ids = mark_all(&mut mesh, after(0));
    assert_eq!(tell(&mut mesh, &queue(), after(0))["messages"], json!([]));
    let mut looked_at = 0;
    for n in 0..50 {
        send(&mut mesh, &format!("new {n}"), after(n));
        // Without the checks, which look at everything.
        let before = mesh.store_mut().looked_at();
        let look = json!({"peerId": "bob", "claim": "queue"}).to_string();
        let Reply::Claimed(claim) = decide(&mut mesh, Endpoint::Messages, &look, after(n)) else {
            panic!()
        };
        mesh.commit_turn().unwrap();
        looked_at += mesh.store_mut().looked_at() - before;
        let [message] = &claim.messages[..] else { panic!("{claim:?}") };
        assert_eq!(*message.payload, *format!("new {n}"));
        let mark = json!({"markSent": [message.id], "way": "queue", "status": "sent"});
        tell(&mut mesh, &mark, after(n));
    }
    assert!(looked_at <= 100, "{looked_at}");

    // What was dropped is found all the same, and what a turn has marked that failed.
    let drop = json!({"markSent": [ids[4]], "way": "queue", "status": "dropped"});
    tell(&mut mesh, &drop, after(100));
    let claim = tell(&mut mesh, &queue(), after(100));
    assert_eq!(given(&claim), ["5"]);
    let mark = json!({"peerId": "bob", "markSent": [ids[4]], "way": "queue", "status": "sent",
        "claimId": claim["claimId"]});
    decide(&mut mesh, Endpoint::Messages, &mark.to_string(), after(100));
    // In the same turn.
    let look = json!({"peerId": "bob", "claim": "queue"}).to_string();
    let look = Request::decode(Endpoint::Messages, look.as_bytes()).unwrap();
    assert!(mesh.handle(Caller::Broker, &look, after(100)).is_ok());
    mesh.abort_turn(after(100)).unwrap();
    assert_eq!(given(&tell(&mut mesh, &queue(), after(100 + ms(CLAIM_TIME)))), ["5"]);
}

#[test]
fn a_prompt_without_it_and_another_agent_bring_back_what_was_passed_over() {
    let mut mesh = mesh(1);
    mark_all(&mut mesh, after(0));
    assert_eq!(given(&tell(&mut mesh, &queue(), after(0))), [""; 0]);
    let prompt = json!({"claim": "hook", "moment": "prompt"});
    tell(&mut mesh, &prompt, after(1));
    assert_eq!(given(&tell(&mut mesh, &prompt, after(2))), ["1"]);
}

#[test]
fn what_a_mailbox_brings_is_told_though_it_is_older_and_was_in_a_queue_of_another() {
    let mut mesh = mesh(0);
    register(&mut mesh, &json!({"name": "carol", "udsPath": "/c"}), after(0));
    for text in ["old", "in a queue"] {
        post(&mut mesh, &json!({"fromPeer": "cli", "toPeer": "carol", "payload": text}), after(0));
    }
    let body = json!({"peerId": "carol", "claim": "queue"}).to_string();
    let Reply::Claimed(claimed) = ask(&mut mesh, Endpoint::Messages, &body, after(0)) else {
        panic!()
    };
    let mark = json!({"peerId": "carol", "markSent": [claimed.messages[1].id], "way": "queue",
        "status": "sent"});
    ask(&mut mesh, Endpoint::Messages, &mark.to_string(), after(0));
    ask(&mut mesh, Endpoint::Unregister, r#"{"peerId":"carol"}"#, after(0));
    send(&mut mesh, "new", after(0));
    mark_all(&mut mesh, after(0));
    assert_eq!(given(&tell(&mut mesh, &queue(), after(0))), [""; 0]);
    // To everyone, and so in no mailbox: it stays in the queue of the one who moves.
    broadcast(&mut mesh, "own", after(0));
    tell(&mut mesh, &json!({"claim": "hook"}), after(0));
    let own = stages(&mut mesh, after(0)).last().unwrap()["id"].clone();
    tell(&mut mesh, &json!({"markSent": [own], "way": "queue", "status": "sent"}), after(0));
    let id = *mesh.peers.keys().next().unwrap();
    let rename = json!({"pid": 1, "projectPath": "/w", "name": "carol", "peerId": id}).to_string();
    let request = Request::decode(Endpoint::Register, rename.as_bytes()).unwrap();
    mesh.begin_turn(after(1)).unwrap();
    assert!(mesh.handle(Caller::Peer(id), &request, after(1)).is_ok());
    mesh.commit_turn().unwrap();
    let Reply::Claimed(claimed) = ask(&mut mesh, Endpoint::Messages, &body, after(1)) else {
        panic!()
    };
    let texts = claimed.messages.iter().map(|message| &*message.payload);
    assert_eq!(texts.collect::<Vec<_>>(), ["old", "in a queue"]);
}

/// Its process was killed: by Esc, say.
#[test]
fn what_a_hook_has_claimed_that_dies_is_told_by_others_who_know_when_to_ask() {
    let mut mesh = mesh(1);
    tell(&mut mesh, &json!({"claim": "hook", "moment": "prompt", "limit": 1}), after(0));
    let silence = ms(TURN_SILENCE_MAX);
    // In the turn, with nothing else to tell.
    let early = tell(&mut mesh, &queue(), after(1000));
    assert_eq!((given(&early).len(), &early["deferMs"]), (0, &json!(silence - 1000)));
    assert_eq!(given(&tell(&mut mesh, &queue(), after(silence))), ["1"]);

    // Out of it, beside another message.
    let mut mesh = super::mesh(2);
    tell(&mut mesh, &json!({"claim": "hook", "limit": 1}), after(0));
    let beside = tell(&mut mesh, &queue(), after(1000));
    assert_eq!((given(&beside), &beside["deferMs"]), (vec!["2"], &json!(ms(CLAIM_TIME) - 1000)));
    // All that may be claimed at once is.
    let mut mesh = super::mesh(CLAIMED_MAX + 1);
    claim(&mut mesh, CLAIMED_MAX, after(0));
    let full = tell(&mut mesh, &queue(), after(0));
    assert_eq!((given(&full).len(), &full["deferMs"]), (0, &json!(ms(CLAIM_TIME))));
    // Beside messages to several that wait for more.
    let mut mesh = super::mesh(1);
    tell(&mut mesh, &json!({"claim": "hook"}), after(0));
    broadcast(&mut mesh, "to all", after(0));
    let waits = tell(&mut mesh, &queue(), after(0));
    assert_eq!((given(&waits).len(), &waits["deferMs"]), (0, &json!(ms(CLAIM_TIME))));
}

#[test]
fn nobody_is_asked_to_come_back_at_once() {
    let mut mesh = mesh(1);
    tell(&mut mesh, &json!({"claim": "hook"}), after(0));
    let end = Monotonic(CLAIM_TIME);
    let just_before = Monotonic(end.0.checked_sub(Duration::from_micros(100)).unwrap());
    let now = Now { mono: just_before, ..after(0) };
    let early = tell(&mut mesh, &queue(), now);
    assert_eq!((given(&early).len(), &early["deferMs"]), (0, &json!(1)));
}

#[test]
fn a_claim_that_waits_at_the_end_of_a_turn_is_given_what_is_for_several() {
    let mut mesh = mesh(0);
    broadcast(&mut mesh, "to all", after(0));
    let body = json!({"peerId": "bob", "claim": "plugin", "moment": "stop", "wait": 60});
    let request = Request::decode(Endpoint::Messages, body.to_string().as_bytes()).unwrap();
    mesh.take_effects();
    mesh.begin_turn(after(0)).unwrap();
    let Ok(Outcome::Hold { on, until }) = mesh.handle(Caller::Broker, &request, after(0)) else {
        panic!("it waits")
    };
    mesh.commit_turn().unwrap();
    assert!(is_woken(&mut mesh), "its server may tell it");
    assert_eq!(until, after(0).mono.plus(DIGEST_TIME));
    let (held, due) = (AskedAgain { on, until, hung_up: false }, Now { mono: until, ..after(0) });
    mesh.begin_turn(due).unwrap();
    let outcome = mesh.handle_held(Caller::Broker, &request, held, due);
    mesh.commit_turn().unwrap();
    let Ok(Outcome::Reply(Reply::Claimed(claimed))) = outcome else { panic!("{outcome:?}") };
    assert_eq!(claimed.messages.len(), 1);
}

/// Bob, with an agent that goes on without its server.
fn have_session(mesh: &mut Mesh<MemoryStore>, reach: &str) -> PeerId {
    let id = *mesh.peers.keys().next().unwrap();
    let record = &mut mesh.peers.get_mut(&id).unwrap().record;
    (record.reach, record.uds_path) = (Some(reach.into()), Some("/s".into()));
    (record.session_id, record.agent_pid) = (Some("s".into()), Some(7));
    record.agent_start = Some("then".into());
    let record = record.clone();
    mesh.begin_turn(after(0)).unwrap();
    mesh.store_mut().put_peer(&record).unwrap();
    mesh.commit_turn().unwrap();
    mesh.agent_lives(id);
    id
}

/// Until then it would be told of nothing, though a message may come that cannot wait.
#[test]
fn who_has_waited_in_vain_is_not_asked_to_stay_away() {
    let mut mesh = mesh(1);
    tell(&mut mesh, &json!({"claim": "hook", "moment": "prompt", "limit": 1}), after(0));
    let body = json!({"peerId": "bob", "claim": "plugin", "wait": 1});
    let request = Request::decode(Endpoint::Messages, body.to_string().as_bytes()).unwrap();
    mesh.begin_turn(after(0)).unwrap();
    let Ok(Outcome::Hold { on, until }) = mesh.handle(Caller::Broker, &request, after(0)) else {
        panic!("it waits")
    };
    mesh.commit_turn().unwrap();
    let (held, end) = (AskedAgain { on, until, hung_up: false }, Now { mono: until, ..after(0) });
    mesh.begin_turn(end).unwrap();
    let outcome = mesh.handle_held(Caller::Broker, &request, held, end);
    mesh.commit_turn().unwrap();
    let Ok(Outcome::Reply(reply)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reply, Reply::Claimed(Claimed::default()));
}

#[test]
fn a_server_that_is_gone_wakes_nobody_whatever_it_has_said() {
    for (reach, told) in [("wakes", 1), ("held", 0)] {
        let mut mesh = mesh(1);
        let id = have_session(&mut mesh, reach);
        let beside = json!({"claim": "wait-hook"});
        assert_eq!(given(&tell(&mut mesh, &beside, after(0))).len(), 0);
        mesh.begin_turn(after(1)).unwrap();
        mesh.process_ended(id, after(1)).unwrap();
        mesh.commit_turn().unwrap();
        assert!(mesh.take_effects().gone.contains(&id), "claims that wait are looked at");
        assert_eq!(given(&tell(&mut mesh, &beside, after(1))).len(), told, "{reach}");
    }
}

#[test]
fn nobody_connects_to_a_server_that_has_gone_after_a_turn_that_failed() {
    let mut mesh = mesh(0);
    let id = have_session(&mut mesh, "wakes");
    mesh.begin_turn(after(1)).unwrap();
    mesh.process_ended(id, after(1)).unwrap();
    mesh.abort_turn(after(1)).unwrap();
    mesh.begin_turn(after(2)).unwrap();
    mesh.process_ended(id, after(2)).unwrap();
    mesh.commit_turn().unwrap();
    let effects = mesh.take_effects();
    assert!(effects.connect.is_empty() && effects.disconnect.contains(&id), "{effects:?}");
}

#[test]
fn nobody_claims_for_another() {
    let mut mesh = mesh(1);
    register(&mut mesh, &json!({"name": "mallory", "udsPath": "/m"}), after(0));
    let mallory = mesh.peers.values().find(|it| &*it.record.name == "mallory").unwrap().record.id;
    let claimed = tell(&mut mesh, &json!({"claim": "hook"}), after(0));
    for body in [
        json!({"claim": "hook"}),
        json!({"claim": "wait-hook", "wait": 60}),
        json!({"release": claimed["claimId"]}),
        json!({"renew": claimed["claimId"]}),
        json!({"markNotified": [first_id(&claimed)], "way": "hook"}),
    ] {
        for peer in [json!("bob"), Value::Null] {
            let mut body = body.clone();
            body.as_object_mut().unwrap().extend(
                Some(("peerId".to_owned(), peer.clone())).filter(|(_, peer)| !peer.is_null()),
            );
            let request = Request::decode(Endpoint::Messages, body.to_string().as_bytes()).unwrap();
            mesh.begin_turn(after(0)).unwrap();
            let outcome = mesh.handle(Caller::Peer(mallory), &request, after(0));
            mesh.commit_turn().unwrap();
            match (peer.is_null(), outcome) {
                (false, Err(Failure::Refused(refusal))) => {
                    assert_eq!(refusal.code, crate::api::Code::Forbidden);
                }
                (
                    true,
                    Ok(Outcome::Reply(Reply::Marked { marked: n } | Reply::Claim { claimed: n })),
                ) => {
                    assert_eq!(n, 0, "{body}");
                }
                (true, Ok(Outcome::Reply(Reply::Claimed(claimed)))) => {
                    assert!(claimed.messages.is_empty());
                }
                (true, Ok(Outcome::Hold { .. })) => {}
                (_, other) => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(given(&tell(&mut mesh, &json!({"claim": "hook"}), after(1))), [""; 0]);
}
