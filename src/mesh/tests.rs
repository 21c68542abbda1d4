//! How an agent is told of messages, by several ways at once: claims, turns, proof.

use std::time::Duration;

use serde_json::{Value, json};

mod again;
mod grants;
mod waiting;

use super::*;
use crate::api::{Claimed, Endpoint, LockReply, LocksReply, PeersReply, Reply, Request};
use crate::limits::{CLAIM_TIME, CLAIMED_MAX, CLAIMS_HELD_MAX, DIGEST_TIME, TURN_SILENCE_MAX};
use crate::model::{SentStatus, Stage, Timestamp};
use crate::store::memory::MemoryStore;

struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        for (byte, value) in bytes.iter_mut().zip(self.0.to_le_bytes().into_iter().cycle()) {
            *byte = value;
        }
    }
}

fn after(ms: u64) -> Now {
    let wall = Timestamp(1_800_000_000_000);
    Now { wall, mono: Monotonic(Duration::from_millis(ms)), ..Now::default() }
}

/// A mesh with the peer `bob`, for whom there are so many messages, `1` and on.
fn mesh(messages: u32) -> Mesh<MemoryStore> {
    let settings = Settings::default();
    let store = MemoryStore::new();
    let mut mesh = Mesh::new(store, Box::new(Counter(0)), settings, after(0)).unwrap();
    let bob = r#"{"pid":1,"projectPath":"/w","name":"bob"}"#;
    ask(&mut mesh, Endpoint::Register, bob, after(0));
    for n in 1..=messages {
        let body = format!(r#"{{"fromPeer":"cli","toPeer":"bob","payload":"{n}"}}"#);
        ask(&mut mesh, Endpoint::Send, &body, after(0));
    }
    mesh
}

fn decide(mesh: &mut Mesh<MemoryStore>, endpoint: Endpoint, body: &str, now: Now) -> Reply {
    let request = Request::decode(endpoint, body.as_bytes()).unwrap();
    mesh.begin_turn(now).unwrap();
    match mesh.handle(Caller::Broker, &request, now) {
        Ok(Outcome::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

fn ask(mesh: &mut Mesh<MemoryStore>, endpoint: Endpoint, body: &str, now: Now) -> Reply {
    let reply = decide(mesh, endpoint, body, now);
    mesh.commit_turn().unwrap();
    mesh.check_invariants(now);
    reply
}

/// What a claim of at most `limit` messages gives, and how many more there are.
fn claim(mesh: &mut Mesh<MemoryStore>, limit: u32, now: Now) -> (Vec<String>, u64) {
    let body = format!(r#"{{"peerId":"bob","claim":"hook","limit":{limit}}}"#);
    let Reply::Claimed(given) = ask(mesh, Endpoint::Messages, &body, now) else { panic!() };
    let texts = given.messages.iter().map(|message| message.payload.to_string());
    (texts.collect(), given.remaining)
}

fn texts(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn a_claim_lasts_its_time_and_no_longer() {
    let mut mesh = mesh(3);
    let time = u64::try_from(CLAIM_TIME.as_millis()).unwrap();
    assert_eq!(claim(&mut mesh, 1, after(0)), (texts(1..=1), 2));
    assert_eq!(claim(&mut mesh, 20, after(10)), (texts(2..=3), 0));
    assert_eq!(claim(&mut mesh, 20, after(time - 1)), (vec![], 0));
    assert_eq!(claim(&mut mesh, 20, after(time)), (texts(1..=1), 0));
    assert_eq!(claim(&mut mesh, 20, after(time + 9)), (vec![], 0));
    assert_eq!(claim(&mut mesh, 20, after(time + 10)), (texts(2..=3), 0));
}

#[test]
fn so_many_messages_of_a_peer_are_claimed_and_no_more() {
    let mut mesh = mesh(CLAIMED_MAX + 5);
    let first = claim(&mut mesh, CLAIMED_MAX - 1, after(0));
    assert_eq!(first, (texts(1..=CLAIMED_MAX - 1), 6));
    let second = claim(&mut mesh, 20, after(1));
    assert_eq!(second, (texts(CLAIMED_MAX..=CLAIMED_MAX), 5));
    assert_eq!(claim(&mut mesh, 20, after(2)), (vec![], 5));
    // Who has read has room again.
    let read = r#"{"peerId":"bob","limit":7}"#;
    ask(&mut mesh, Endpoint::Messages, read, after(3));
    let third = claim(&mut mesh, 20, after(4));
    assert_eq!(third, (texts(CLAIMED_MAX + 1..=CLAIMED_MAX + 5), 0));
}

#[test]
fn a_turn_that_fails_leaves_claims_as_they_were() {
    let mut mesh = mesh(2);
    let now = after(0);
    let claim_both = r#"{"peerId":"bob","claim":"hook"}"#;
    decide(&mut mesh, Endpoint::Messages, claim_both, now);
    mesh.abort_turn(now).unwrap();
    assert_eq!(claim(&mut mesh, 1, now), (texts(1..=1), 1), "nobody was given any");

    // Read, but that is not kept: still unread, and still claimed.
    decide(&mut mesh, Endpoint::Messages, r#"{"peerId":"bob"}"#, now);
    mesh.abort_turn(now).unwrap();
    assert_eq!(claim(&mut mesh, 20, now), (texts(2..=2), 0));
    assert_eq!(claim(&mut mesh, 20, now), (vec![], 0));
}

/// `POST /messages` of bob's; what the answer says as JSON.
fn tell(mesh: &mut Mesh<MemoryStore>, body: &Value, now: Now) -> Value {
    let mut body = body.clone();
    body["peerId"] = "bob".into();
    let reply = ask(mesh, Endpoint::Messages, &body.to_string(), now);
    let mut text = Vec::new();
    reply.write_to(&mut text);
    serde_json::from_slice(&text).unwrap()
}

/// The payloads that a claim was given.
fn given(answer: &Value) -> Vec<&str> {
    let messages = answer["messages"].as_array().unwrap();
    messages.iter().map(|message| message["payload"].as_str().unwrap()).collect()
}

fn first_id(answer: &Value) -> Value {
    answer["messages"][0]["id"].clone()
}

fn post(mesh: &mut Mesh<MemoryStore>, body: &Value, now: Now) -> Value {
    let Reply::Sent(sent) = ask(mesh, Endpoint::Send, &body.to_string(), now) else { panic!() };
    serde_json::to_value(sent).unwrap()
}

fn broadcast(mesh: &mut Mesh<MemoryStore>, text: &str, now: Now) {
    post(mesh, &json!({"fromPeer": "cli", "toPeer": "all", "payload": text}), now);
}

/// What bob has, as its sender sees it.
fn stages(mesh: &mut Mesh<MemoryStore>, now: Now) -> Vec<Value> {
    let body = r#"{"peerId":"cli","filter":"sent"}"#;
    let Reply::Messages(sent) = ask(mesh, Endpoint::Messages, body, now) else { panic!() };
    sent.messages.iter().map(|message| serde_json::to_value(message).unwrap()).collect()
}

fn register(mesh: &mut Mesh<MemoryStore>, more: &Value, now: Now) {
    let mut body = json!({"pid": 1, "projectPath": "/w", "name": "bob", "udsPath": "/s"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ask(mesh, Endpoint::Register, &body.to_string(), now);
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// Whether somebody was told that something may be told.
fn is_woken(mesh: &mut Mesh<MemoryStore>) -> bool {
    let effects = mesh.take_effects();
    let is_wake = |push: &Push| *push.frame.told() == Pushed::Wake;
    let frames = effects.pushes.iter().filter(|push| is_wake(push)).count();
    assert!(frames == 0 || !effects.inboxes.is_empty(), "claims that wait are looked at, too");
    frames > 0
}

#[test]
fn a_claim_is_used_by_its_owner_only() {
    let mut mesh = mesh(3);
    let socket = tell(&mut mesh, &json!({"claim": "socket", "limit": 1}), after(0));
    let hook = tell(&mut mesh, &json!({"claim": "hook", "limit": 1}), after(1));
    assert_eq!((given(&socket), given(&hook)), (vec!["1"], vec!["2"]));
    let (one, two) = (first_id(&socket), first_id(&hook));
    // Of another's claim nothing is marked, nor of what nobody has been given by it.
    let mark = |ids: Value, claim: &Value| json!({"markNotified": ids, "way": "hook", "claimId": claim["claimId"]});
    let wrong = tell(&mut mesh, &mark(json!([one]), &hook), after(2));
    assert_eq!(wrong["marked"], 0);
    let right = tell(&mut mesh, &mark(json!([one, two]), &hook), after(2));
    assert_eq!(right["marked"], 1);
    // Renewed it lasts longer, and is there for nobody else.
    let renew = json!({"renew": socket["claimId"]});
    let late = ms(CLAIM_TIME) - 1;
    assert_eq!(tell(&mut mesh, &renew, after(late))["claimed"], 1);
    let rest = tell(&mut mesh, &json!({"claim": "hook"}), after(2 * late));
    assert_eq!(given(&rest), ["3"]);
    // Released it is there for others, who are told so.
    is_woken(&mut mesh);
    let release = json!({"release": socket["claimId"]});
    assert_eq!(tell(&mut mesh, &release, after(2 * late))["claimed"], 1);
    assert!(is_woken(&mut mesh));
    assert_eq!(tell(&mut mesh, &release, after(2 * late))["claimed"], 0);
    assert_eq!(tell(&mut mesh, &renew, after(2 * late))["claimed"], 0);
    assert_eq!(given(&tell(&mut mesh, &json!({"claim": "hook"}), after(2 * late))), ["1"]);
    let nobody = json!({"renew": "00000000-0000-4000-8000-000000000000"});
    assert_eq!(tell(&mut mesh, &nobody, after(2 * late))["claimed"], 0);
}

#[test]
fn a_mark_that_comes_late_counts_unless_somebody_else_has_the_message() {
    let mut mesh = mesh(3);
    let time = ms(CLAIM_TIME);
    let first = tell(&mut mesh, &json!({"claim": "queue"}), after(0));
    let ids: Vec<Value> =
        first["messages"].as_array().unwrap().iter().map(|message| message["id"].clone()).collect();
    let second = tell(&mut mesh, &json!({"claim": "socket", "limit": 2}), after(time));
    assert_eq!(given(&second), ["1", "2"]);
    let told = json!({"markSent": [ids[1]], "way": "socket", "status": "sent",
        "claimId": second["claimId"]});
    assert_eq!(tell(&mut mesh, &told, after(time + 1))["marked"], 1);
    let late = json!({"markSent": ids, "way": "queue", "status": "sent",
        "claimId": first["claimId"]});
    // The first is being told by another way, the second was.
    assert_eq!(tell(&mut mesh, &late, after(time + 2))["marked"], 1);
    let by: Vec<Value> =
        stages(&mut mesh, after(time + 3)).iter().map(|it| it["sentBy"].clone()).collect();
    assert_eq!(by, [Value::Null, "inbox-socket".into(), "queue".into()]);
    // What it has told itself it may mark again.
    let held = json!({"markSent": ids, "way": "queue", "status": "held",
        "claimId": first["claimId"]});
    assert_eq!(tell(&mut mesh, &held, after(time + 4))["marked"], 1);
}

#[test]
fn what_is_sent_is_told_by_no_other_way_until_it_is_dropped() {
    let mut mesh = mesh(1);
    let claim = tell(&mut mesh, &json!({"claim": "queue"}), after(0));
    let id = first_id(&claim);
    let mark = |status: &str| json!({"markSent": [id], "way": "queue", "status": status});
    let now = after(1);
    tell(&mut mesh, &mark("sent"), now);
    let sent = stages(&mut mesh, now).remove(0);
    let stage = (&sent["stage"], &sent["sentStatus"], &sent["notifiedAt"]);
    assert_eq!(stage, (&"sent".into(), &"sent".into(), &Value::Null));
    for status in ["held", "refused", "declined", "not-running"] {
        tell(&mut mesh, &mark(status), now);
        let sent = stages(&mut mesh, now).remove(0);
        assert_eq!((&sent["stage"], &sent["sentStatus"]), (&"sent".into(), &status.into()));
        assert_eq!(given(&tell(&mut mesh, &json!({"claim": "hook"}), now)), [""; 0]);
    }
    is_woken(&mut mesh);
    assert_eq!(tell(&mut mesh, &mark("dropped"), now)["marked"], 1);
    assert!(is_woken(&mut mesh));
    assert_eq!(stages(&mut mesh, now)[0]["stage"], "delivered");
    assert_eq!(given(&tell(&mut mesh, &json!({"claim": "hook"}), now)), ["1"]);
}

#[test]
fn in_a_turn_the_hooks_tell_and_else_what_wakes() {
    let mut mesh = mesh(0);
    let hook = |moment: &str| json!({"claim": "hook", "moment": moment});
    let silence = ms(TURN_SILENCE_MAX);
    // Without hooks nothing is known of turns.
    post(&mut mesh, &json!({"fromPeer": "cli", "toPeer": "bob", "payload": "1"}), after(0));
    let told = tell(&mut mesh, &json!({"claim": "socket"}), after(0));
    assert_eq!(given(&told), ["1"]);
    let read = json!({"markRead": [first_id(&told)], "way": "socket"});
    tell(&mut mesh, &read, after(0));

    tell(&mut mesh, &hook("prompt"), after(1000));
    post(&mut mesh, &json!({"fromPeer": "cli", "toPeer": "bob", "payload": "2"}), after(2000));
    for way in ["socket", "queue", "wait-hook", "plugin", "channel", "tool-result"] {
        let answer = tell(&mut mesh, &json!({"claim": way}), after(3000));
        assert_eq!((given(&answer), &answer["remaining"]), (vec![], &json!(1)), "{way}");
        assert_eq!(answer["deferMs"], 1000 + silence - 3000, "{way}");
    }
    // The hooks are silent: the turn was broken off.
    let told = tell(&mut mesh, &json!({"claim": "socket"}), after(1000 + silence));
    assert_eq!(given(&told), ["2"]);
    tell(&mut mesh, &json!({"release": told["claimId"]}), after(1000 + silence));
    // They go on: a tool was only slow.
    let now = after(2000 + silence);
    let told = tell(&mut mesh, &hook("tool"), now);
    assert_eq!(given(&told), ["2"]);
    tell(&mut mesh, &json!({"markRead": [first_id(&told)], "way": "hook"}), now);

    // At the end the agent goes on with what is for it alone, and is in a turn with that.
    post(&mut mesh, &json!({"fromPeer": "cli", "toPeer": "bob", "payload": "3"}), now);
    let told = tell(&mut mesh, &hook("stop"), now);
    assert_eq!(given(&told), ["3"]);
    tell(&mut mesh, &json!({"markRead": [first_id(&told)], "way": "hook"}), now);
    broadcast(&mut mesh, "4", now);
    let answer = tell(&mut mesh, &json!({"claim": "socket"}), now);
    assert_eq!(answer["deferMs"], silence);
    // What is for all keeps nobody from ending a turn; whoever wakes is told that it has ended.
    is_woken(&mut mesh);
    let answer = tell(&mut mesh, &hook("stop"), now);
    assert_eq!((given(&answer), &answer["remaining"]), (vec![], &json!(1)));
    assert!(is_woken(&mut mesh));
    let now = after(2000 + silence + ms(DIGEST_TIME));
    assert_eq!(given(&tell(&mut mesh, &json!({"claim": "socket"}), now)), ["4"]);
    // A session that ends is told nothing.
    post(&mut mesh, &json!({"fromPeer": "cli", "toPeer": "bob", "payload": "5"}), now);
    assert_eq!(given(&tell(&mut mesh, &hook("end"), now)), [""; 0]);
    assert!(is_woken(&mut mesh));
}

#[test]
fn a_plugin_says_where_its_agent_is() {
    let mut mesh = mesh(0);
    let plugin = |moment: &str| json!({"claim": "plugin", "moment": moment});
    let held = json!({"claim": "plugin"});
    tell(&mut mesh, &plugin("prompt"), after(0));
    post(&mut mesh, &json!({"fromPeer": "cli", "toPeer": "bob", "payload": "1"}), after(1));
    assert_eq!(given(&tell(&mut mesh, &held, after(1))), [""; 0], "after the turn");
    assert_eq!(given(&tell(&mut mesh, &plugin("tool"), after(2))), [""; 0]);
    assert_eq!(given(&tell(&mut mesh, &plugin("stop"), after(3))), ["1"]);
}

#[test]
fn messages_to_several_wait_for_more_before_they_wake_anyone() {
    let mut mesh = mesh(0);
    let (digest, wake) = (ms(DIGEST_TIME), json!({"claim": "queue"}));
    broadcast(&mut mesh, "one", after(1000));
    broadcast(&mut mesh, "two", after(9000));
    let answer = tell(&mut mesh, &wake, after(9000));
    assert_eq!((given(&answer), &answer["deferMs"]), (vec![], &json!(1000 + digest - 9000)));
    // A hook costs nothing.
    let told = tell(&mut mesh, &json!({"claim": "hook"}), after(9000));
    assert_eq!(given(&told), ["one", "two"]);
    assert_eq!(tell(&mut mesh, &wake, after(9000))["deferMs"], ms(CLAIM_TIME), "claimed");
    tell(&mut mesh, &json!({"release": told["claimId"]}), after(9000));
    let told = tell(&mut mesh, &wake, after(1000 + digest));
    assert_eq!(given(&told), ["one", "two"]);
    for message in told["messages"].as_array().unwrap() {
        tell(&mut mesh, &json!({"markRead": [message["id"]], "way": "queue"}), after(12_000));
    }
    // The next wait anew.
    broadcast(&mut mesh, "three", after(13_000));
    assert_eq!(tell(&mut mesh, &wake, after(13_000))["deferMs"], digest);
    // With what is for the peer alone all goes at once; so it does with an alert.
    post(&mut mesh, &json!({"fromPeer": "cli", "toPeer": "bob", "payload": "four"}), after(13_001));
    let told = tell(&mut mesh, &wake, after(13_001));
    assert_eq!(given(&told), ["three", "four"]);
    let release = json!({"release": told["claimId"]});
    tell(&mut mesh, &release, after(13_001));
    for way in ["socket", "channel"] {
        let told = tell(&mut mesh, &json!({"claim": way}), after(13_001));
        tell(&mut mesh, &json!({"release": told["claimId"]}), after(13_001));
    }
    let alert = json!({"fromPeer": "cli", "toPeer": "all", "payload": "five", "type": "alert"});
    post(&mut mesh, &alert, after(13_002));
    assert_eq!(given(&tell(&mut mesh, &wake, after(13_002))).len(), 3);
}

#[test]
fn an_answer_to_all_wakes_the_one_who_asked() {
    let mut mesh = mesh(0);
    register(&mut mesh, &json!({"name": "carol"}), after(0));
    let asked = json!({"fromPeer": "bob", "toPeer": "carol", "payload": "where?"});
    let asked = post(&mut mesh, &asked, after(0));
    let answer = |to: &Value| json!({"fromPeer": "carol", "toPeer": "all", "payload": "there", "replyTo": to});
    let wake = json!({"claim": "queue"});
    post(&mut mesh, &answer(&"00000000-0001-8000-8000-000000000009".into()), after(1));
    assert_eq!(given(&tell(&mut mesh, &wake, after(1))), [""; 0], "nobody has asked that");
    // By the handle, which is one for those only who sent or got it.
    post(&mut mesh, &answer(&asked["handle"]), after(2));
    assert_eq!(given(&tell(&mut mesh, &wake, after(2))), ["there", "there"]);
    let stranger = json!({"fromPeer": "bot", "toPeer": "bob", "payload": "x",
        "replyTo": asked["handle"]});
    let request = Request::decode(Endpoint::Send, stranger.to_string().as_bytes()).unwrap();
    mesh.begin_turn(after(3)).unwrap();
    let refused = mesh.handle(Caller::Broker, &request, after(3));
    mesh.commit_turn().unwrap();
    let Err(Failure::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert!(refusal.message.contains(asked["handle"].as_str().unwrap()), "{refusal:?}");
}

#[test]
fn a_prompt_proves_what_it_is_made_of() {
    let mut mesh = mesh(3);
    let prompt =
        |handles: &[&Value]| json!({"claim": "hook", "moment": "prompt", "proof": handles});
    let now = after(0);
    let claim = tell(&mut mesh, &json!({"claim": "queue", "limit": 2}), now);
    let [one, two] = [0, 1].map(|n| claim["messages"][n].clone());
    let whole = json!({"markSent": [one["id"]], "way": "queue", "status": "sent", "whole": true});
    let begun = json!({"markSent": [two["id"]], "way": "queue", "status": "held"});
    tell(&mut mesh, &whole, now);
    tell(&mut mesh, &begun, now);
    // A handle of what was not sent proves nothing, whoever has written it into the prompt.
    let third = mesh.store_mut().last_seq();
    let unsent: Value = crate::model::Handle::of(third).to_string().into();
    let told = tell(&mut mesh, &prompt(&[&one["handle"], &two["handle"], &unsent]), now);
    assert_eq!(told["proven"], json!([one["id"], two["id"]]));
    assert_eq!(given(&told), ["3"]);
    let all = stages(&mut mesh, now);
    let stage = |n: usize| (&all[n]["stage"], &all[n]["notifiedBy"]);
    assert_eq!(stage(0), (&"read".into(), &"queue".into()), "the whole text was in it");
    assert_eq!(stage(1), (&"notified".into(), &"queue".into()));
    assert_eq!(all[2]["stage"], "queued");
    let again = tell(&mut mesh, &prompt(&[&one["handle"]]), now);
    assert_eq!(again["proven"], Value::Null);
}

#[test]
fn a_prompt_may_come_before_its_message_is_marked_sent() {
    let mut mesh = mesh(2);
    let now = after(0);
    let claim = tell(&mut mesh, &json!({"claim": "socket"}), now);
    let [one, two] = [0, 1].map(|n| claim["messages"][n].clone());
    let prompt =
        json!({"claim": "hook", "moment": "prompt", "proof": [one["handle"], two["handle"]]});
    assert_eq!(tell(&mut mesh, &prompt, now)["proven"].as_array().unwrap().len(), 2);
    let mark = |message: &Value, whole: bool| {
        json!({"markSent": [message["id"]], "way": "socket", "status": "sent", "whole": whole,
            "claimId": claim["claimId"]})
    };
    tell(&mut mesh, &mark(&one, true), now);
    tell(&mut mesh, &mark(&two, false), now);
    let all = stages(&mut mesh, now);
    assert_eq!((&all[0]["stage"], &all[1]["stage"]), (&"read".into(), &"notified".into()));
}

#[test]
fn two_prompts_without_a_message_tell_that_it_was_dropped() {
    let mut mesh = mesh(2);
    let now = after(0);
    let claim = tell(&mut mesh, &json!({"claim": "queue"}), now);
    let [one, two] = [0, 1].map(|n| claim["messages"][n].clone());
    let mark = |id: &Value| json!({"markSent": [id], "way": "queue", "status": "sent"});
    tell(&mut mesh, &mark(&one["id"]), now);
    tell(&mut mesh, &mark(&two["id"]), now);
    let prompt = |proof: Value| json!({"claim": "hook", "moment": "prompt", "proof": proof});
    // What came after one that is proven may be on its way still.
    tell(&mut mesh, &prompt(json!([one["handle"]])), now);
    is_woken(&mut mesh);
    assert_eq!(given(&tell(&mut mesh, &prompt(json!([])), now)), [""; 0]);
    assert!(!is_woken(&mut mesh));
    // The one that tells it is given the message.
    assert_eq!(given(&tell(&mut mesh, &prompt(json!([])), now)), ["2"]);
    assert!(is_woken(&mut mesh));
}

#[test]
fn claims_wait_until_something_may_be_told() {
    let mut mesh = mesh(0);
    let request = |way: &str| {
        let body = json!({"peerId": "bob", "claim": way, "wait": 3600}).to_string();
        Request::decode(Endpoint::Messages, body.as_bytes()).unwrap()
    };
    let hold = |mesh: &mut Mesh<MemoryStore>, way: &str, held: Option<AskedAgain>, now: Now| {
        mesh.begin_turn(now).unwrap();
        let outcome = match held {
            None => mesh.handle(Caller::Broker, &request(way), now),
            Some(held) => mesh.handle_held(Caller::Broker, &request(way), held, now),
        };
        mesh.commit_turn().unwrap();
        outcome
    };
    let reach = |mesh: &mut Mesh<MemoryStore>, now: Now| {
        let everyone = r#"{"includeStale":true}"#;
        let Reply::Peers(PeersReply { peers, .. }) = ask(mesh, Endpoint::Peers, everyone, now)
        else {
            panic!()
        };
        peers[0].reach.clone()
    };
    assert_eq!(&*reach(&mut mesh, after(0)), "none");
    let mut holds = Vec::new();
    for _ in 0..CLAIMS_HELD_MAX {
        let Ok(Outcome::Hold { on, until }) = hold(&mut mesh, "wait-hook", None, after(0)) else {
            panic!("it is held")
        };
        assert_eq!(until, after(3_600_000).mono);
        holds.push(AskedAgain { on, until, hung_up: false });
    }
    assert_eq!(&*reach(&mut mesh, after(1_000_000)), "wakes");
    let Err(Failure::Refused(refusal)) = hold(&mut mesh, "wait-hook", None, after(1)) else {
        panic!("there are enough")
    };
    assert!(refusal.message.contains("wait"), "{refusal:?}");
    // A message to all is looked at again when it is due.
    broadcast(&mut mesh, "to all", after(1000));
    let first = holds.pop().unwrap();
    let Ok(Outcome::Hold { on, until }) = hold(&mut mesh, "wait-hook", Some(first), after(1000))
    else {
        panic!("it is held")
    };
    assert_eq!((on, until), (first.on, after(1000).mono.plus(DIGEST_TIME)));
    let due = after(1000 + ms(DIGEST_TIME));
    let again = AskedAgain { until, ..first };
    let Ok(Outcome::Reply(Reply::Claimed(Claimed { messages, claim_id, .. }))) =
        hold(&mut mesh, "wait-hook", Some(again), due)
    else {
        panic!("it is due")
    };
    assert_eq!((messages.len(), claim_id.is_some()), (1, true));
    // The others are looked at again when the claim may have run out.
    let second = holds.pop().unwrap();
    let Ok(Outcome::Hold { until, .. }) = hold(&mut mesh, "wait-hook", Some(second), due) else {
        panic!("it is held")
    };
    assert_eq!(until, due.mono.plus(CLAIM_TIME));
    // Whoever has gone is given nothing.
    let gone = AskedAgain { hung_up: true, until: due.mono, ..second };
    let Ok(Outcome::Reply(reply)) = hold(&mut mesh, "wait-hook", Some(gone), due) else {
        panic!("it has ended")
    };
    assert_eq!(reply, Reply::Claimed(Claimed::default()));
    for held in holds {
        let Interest::Claim { peer, place, .. } = held.on else { panic!() };
        mesh.withdraw_claim(peer, place);
    }
    let (soon, late) = (after(30_000), after(90_000));
    assert_eq!(&*reach(&mut mesh, soon), "wakes", "it is about to wait again");
    assert_eq!(&*reach(&mut mesh, late), "none");
}

#[test]
fn what_waits_beside_the_agent_leaves_it_to_a_server_that_wakes() {
    let mut mesh = mesh(0);
    for (said, told) in [("wakes", 0), ("held", 0), ("next-call", 1)] {
        let name = format!("for-{said}");
        register(&mut mesh, &json!({"name": name, "reach": said}), after(0));
        let send = json!({"fromPeer": "cli", "toPeer": name, "payload": "x"});
        post(&mut mesh, &send, after(0));
        for way in ["wait-hook", "plugin"] {
            let body = json!({"peerId": name, "claim": way}).to_string();
            let Reply::Claimed(claimed) = ask(&mut mesh, Endpoint::Messages, &body, after(0))
            else {
                panic!()
            };
            assert_eq!(claimed.messages.len(), told, "{said}");
            assert_eq!(claimed.defer_ms, None);
            let Some(claim) = claimed.claim_id else { continue };
            let release = json!({"peerId": name, "release": claim}).to_string();
            ask(&mut mesh, Endpoint::Messages, &release, after(0));
        }
        let Reply::Peers(PeersReply { peers, .. }) =
            ask(&mut mesh, Endpoint::Peers, "{}", after(0))
        else {
            panic!()
        };
        let peer = peers.iter().find(|peer| *peer.name == *name).unwrap();
        assert_eq!(&*peer.reach, if told == 0 { said } else { "wakes" });
    }
}

#[test]
fn another_agent_has_nothing_in_its_queue() {
    let mut mesh = mesh(2);
    let now = after(0);
    let claim = tell(&mut mesh, &json!({"claim": "queue"}), now);
    let [one, two] = [0, 1].map(|n| claim["messages"][n]["id"].clone());
    tell(&mut mesh, &json!({"markSent": [one], "way": "queue", "status": "sent"}), now);
    tell(&mut mesh, &json!({"markNotified": [two], "way": "queue"}), now);
    assert_eq!(stages(&mut mesh, now)[0]["sentStatus"], SentStatus::Sent.as_str());
    // Somebody else has the name now, and with it the mailbox.
    ask(&mut mesh, Endpoint::Unregister, r#"{"peerId":"bob"}"#, now);
    register(&mut mesh, &json!({"name": "bob"}), now);
    assert_eq!(given(&tell(&mut mesh, &json!({"claim": "queue"}), now)), ["1"]);
    assert_eq!(stages(&mut mesh, now)[1]["stage"], Stage::Notified.as_str());
}
