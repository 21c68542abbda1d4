use super::*;
use crate::client::Refused;

const ORDER: Option<Order> = Some(Order::Register(StartPolicy::IfNeeded));
const LOOK: Option<Order> = Some(Order::Register(StartPolicy::Never));

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[expect(clippy::unnecessary_wraps, reason = "what is told of a request is a result")]
fn registered(id: u8, token: &str) -> Result<Registered, ClientError> {
    Ok(Registered {
        peer_id: PeerId::from_random([id; 16]),
        name: "webapp".into(),
        peer_token: token.into(),
        heartbeat_ms: 15_000,
        resumed: false,
    })
}

fn refused(code: Code) -> Result<Registered, ClientError> {
    Err(ClientError::Refused(Box::new(Refused {
        status: code.status(),
        word: code.as_str().into(),
        message: "no".into(),
        body: Vec::new(),
        retry_after: None,
    })))
}

fn present(now: Instant) -> Presence {
    let mut presence = Presence::new(None);
    presence.need(false, now);
    assert_eq!(presence.poll(now), ORDER);
    assert_eq!(presence.handle_registered(registered(1, "t"), now), Arrival::New);
    assert!(presence.is_present());
    presence
}

#[test]
fn a_client_that_only_looks_leaves_no_trace() {
    let now = Instant::now();
    let mut presence = Presence::new(None);
    assert_eq!((presence.poll(now + seconds(99)), presence.deadline()), (None, None));
    presence.settle(now);
    presence.settle(now + seconds(5));
    assert_eq!(presence.poll(now + Duration::from_millis(999)), None);
    assert_eq!(presence.deadline(), Some(now + seconds(1)));
    assert_eq!(presence.poll(now + seconds(1)), ORDER);
    assert!(presence.is_registering() && presence.poll(now + seconds(99)).is_none());
}

#[test]
fn a_tool_call_does_not_wait_but_for_the_roots() {
    let now = Instant::now();
    let mut presence = Presence::new(None);
    presence.settle(now);
    presence.need(true, now);
    assert_eq!(presence.poll(now), None);
    presence.introduce_again(now);
    assert_eq!(presence.poll(now), ORDER);

    let mut presence = Presence::new(None);
    presence.need(true, now);
    assert_eq!(presence.poll(now + ROOTS_TIME_MAX), ORDER, "they never came");
    // They come late: the broker is told as soon as it can be.
    presence.introduce_again(now);
    presence.handle_registered(registered(1, "t"), now);
    assert!(!presence.is_present());
    assert_eq!(presence.poll(now), ORDER);
    assert_eq!(presence.handle_registered(registered(1, ""), now), Arrival::Back);
    assert_eq!(&*presence.identity().unwrap().token, "t", "it is told only once");
}

#[test]
fn another_name_than_was_asked_for_is_told() {
    let now = Instant::now();
    let mut presence = Presence::new(Some("bob"));
    presence.need(false, now);
    assert_eq!(presence.poll(now), ORDER);
    let mut register = Register::default();
    assert_eq!(presence.fill(&mut register), None);
    assert_eq!(register.name.as_deref(), Some("bob"));
    let result = registered(1, "t").map(|r| Registered { name: "bob-3".into(), ..r });
    presence.handle_registered(result, now);
    assert_eq!(presence.name_taken(), Some("bob"));
    let mut register = Register::default();
    assert_eq!(presence.fill(&mut register).as_deref(), Some("t"));
    assert!(register.name.is_none() && register.peer_id.is_some());
}

#[test]
fn heartbeats_come_one_at_a_time() {
    let now = Instant::now();
    let mut presence = present(now);
    assert_eq!(presence.poll(now + seconds(14)), None);
    assert_eq!(presence.poll(now + seconds(15)), Some(Order::Heartbeat));
    assert_eq!(presence.poll(now + seconds(30)), None, "no answer yet");
    presence.handle_heartbeat();
    assert_eq!(presence.poll(now + seconds(45)), Some(Order::Heartbeat));
}

#[test]
fn a_heartbeat_can_be_hurried_but_not_by_much() {
    let now = Instant::now();
    let mut presence = present(now);
    for beat in 1..4 {
        let before = now + seconds(beat - 1) + Duration::from_millis(999);
        presence.beat_soon(before);
        assert_eq!(presence.poll(before), None);
        assert_eq!(presence.poll(now + seconds(beat)), Some(Order::Heartbeat));
        presence.handle_heartbeat();
    }
}

#[test]
fn a_lost_broker_is_replaced_at_once_but_not_for_ever() {
    let mut now = Instant::now();
    let mut presence = present(now);
    presence.handle_lost(now);
    presence.handle_lost(now);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let at = presence.deadline().unwrap();
        pauses.push(at.saturating_duration_since(now).as_secs());
        now = at;
        assert_eq!(presence.poll(now), ORDER);
        assert_eq!(presence.handle_registered(registered(1, ""), now), Arrival::Back);
        presence.handle_lost(now);
    }
    assert_eq!(pauses, [0, 1, 2, 4]);
    // A tool call does not wait for that.
    presence.need(false, now);
    assert_eq!(presence.poll(now), ORDER);
    presence.handle_registered(registered(1, ""), now);
    now += STEADY_AFTER;
    presence.handle_lost(now);
    assert_eq!(presence.poll(now), ORDER, "it was steady");
}

#[test]
fn failures_are_told_and_tried_again_later() {
    let now = Instant::now();
    let mut presence = Presence::new(None);
    presence.need(false, now);
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        let at = presence.deadline().unwrap();
        assert_eq!(presence.poll(at), ORDER);
        let failed = ClientError::StartFailed { reason: "no room".into() };
        let arrival = presence.handle_registered(Err(failed.clone()), at);
        assert_eq!(arrival, Arrival::Failed(failed));
        assert_eq!(presence.deadline(), Some(at + seconds(pause)));
    }
}

#[test]
fn after_a_stop_it_only_joins() {
    let now = Instant::now();
    let mut presence = present(now);
    assert!(!presence.handle_stopped(now));
    assert!(presence.is_present());
    presence.handle_lost(now);
    assert_eq!(presence.poll(now), None);
    assert_eq!(presence.poll(now + LOOK_EVERY), LOOK);
    presence.handle_registered(Err(ClientError::NoBroker), now);
    assert_eq!(presence.poll(now + LOOK_EVERY), LOOK);
    // A tool call while it looks.
    presence.need(false, now);
    let arrival = presence.handle_registered(Err(ClientError::NoBroker), now);
    assert_eq!((arrival, presence.poll(now)), (Arrival::Again, ORDER));

    // The word comes after the end of the connection.
    let mut presence = present(now);
    presence.handle_lost(now);
    assert_eq!(presence.poll(now), ORDER);
    assert!(presence.handle_stopped(now), "the attempt is broken off");
    assert_eq!(presence.poll(now + LOOK_EVERY), LOOK);
    presence.handle_registered(registered(1, ""), now);
    presence.handle_lost(now + STEADY_AFTER);
    assert_eq!(presence.poll(now + STEADY_AFTER), ORDER, "joined: as ever");
}

#[test]
fn whoever_is_forgotten_is_somebody_new() {
    let now = Instant::now();
    for code in [Code::PeerNotFound, Code::Unauthorized, Code::Forbidden] {
        let mut presence = present(now);
        presence.handle_unknown(now);
        assert_eq!(presence.poll(now), ORDER);
        assert!(presence.fill(&mut Register::default()).is_some());
        assert_eq!(presence.handle_registered(refused(code), now), Arrival::Again);
        assert_eq!(presence.poll(now), ORDER);
        assert!(presence.fill(&mut Register::default()).is_none());
        assert_eq!(presence.handle_registered(registered(2, "u"), now), Arrival::New);
    }
}
