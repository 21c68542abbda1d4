use super::*;
use crate::model::{MessageId, Seq};
use crate::wire::frames::{Answer, Hello, ToRelay};

fn at(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn peer(n: u8) -> PeerId {
    PeerId::from_random([n; 16])
}

fn id(seq: u64) -> MessageId {
    MessageId::new(Seq(seq), [1; 16])
}

fn ask<'a>(path: &'a str, token: Option<&'a str>) -> Asked<'a> {
    Asked { token, method: "POST", path, body: b"{}", agent_start: None, has_gone: false }
}

fn hello(version: &str) -> String {
    let (name, time) = ("hub".into(), Timestamp(5));
    let you = MachineName::new("box");
    ToRelay::Hello(Hello { version: version.to_owned().into(), name, time, you }).text()
}

fn answer(id: u64, status: u16, body: &str) -> String {
    let (now, retry_after, allow) = (Timestamp(9), None, None);
    ToRelay::Answer(Answer { id, status, now, retry_after, allow, body }).text()
}

fn frames(uplink: &mut Uplink<u8>, now: Monotonic) -> Vec<String> {
    std::iter::from_fn(|| uplink.next_frame(now)).collect()
}

fn outputs(uplink: &mut Uplink<u8>) -> Vec<Output<u8>> {
    std::iter::from_fn(|| uplink.next_output()).collect()
}

/// One that has said everything that goes before requests, at 0.
fn standing() -> Uplink<u8> {
    let mut uplink = Uplink::new("laptop", at(0));
    uplink.want(true, at(0));
    assert_eq!(outputs(&mut uplink), [Output::Dial]);
    uplink.connected(at(0), Timestamp(5));
    uplink.frame(&hello(env!("CARGO_PKG_VERSION")), at(0));
    let first = frames(&mut uplink, at(0));
    assert!(first[0].starts_with(r#"{"hello":"#), "{first:?}");
    assert_eq!(first[1..], [r#"{"peers":[],"ended":[]}"#]);
    uplink
}

/// The codes of the answers, by who gets them; 0: none, and the connection ends.
fn told(uplink: &mut Uplink<u8>) -> Vec<(u8, u16)> {
    let told = outputs(uplink).into_iter().filter_map(|output| match output {
        Output::Answer(to, answered) => Some((to, answered.status)),
        Output::Drop(to) => Some((to, 0)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_request_goes_out_as_it_came_and_its_answer_comes_back_as_it_is() {
    let mut uplink = standing();
    let body = b" {\"toPeer\": \"a\\u0062\"}\n";
    uplink.ask(1, Asked { body, ..ask("/send", None) }, at(1)).unwrap();
    let sent = frames(&mut uplink, at(1));
    assert_eq!(
        sent,
        [r#"{"id":1,"as":"operator","method":"POST","path":"/send","body":{"toPeer": "a\u0062"}}"#]
    );
    uplink.frame(
        r#"{"id":1,"status":405,"now":9,"retryAfter":2,"allow":"GET","body":{"a": 1.50}}"#,
        at(2),
    );
    let answered = Answered {
        status: 405,
        body: r#"{"a": 1.50}"#.into(),
        retry_after: Some(2),
        allow: Some("GET".into()),
        now: Some(Timestamp(9)),
    };
    assert_eq!(outputs(&mut uplink), [Output::Answer(1, answered)]);
    // What is no JSON cannot be passed on.
    for body in [&b"{"[..], b"\xff", b"{} {}"] {
        let refused = uplink.ask(1, Asked { body, ..ask("/send", None) }, at(3)).unwrap_err();
        assert_eq!(refused.code, Code::InvalidJson);
    }
    assert!(frames(&mut uplink, at(3)).is_empty() && uplink.is_idle(|_| true));
}

#[test]
fn nothing_but_the_relays_own_token_makes_an_operator() {
    let mut uplink = standing();
    for path in ["/send", "/register", "/shutdown"] {
        let refused = uplink.ask(1, ask(path, Some(OPERATOR)), at(1)).unwrap_err();
        assert_eq!(refused.code, Code::Unauthorized, "{path}");
    }
    assert!(frames(&mut uplink, at(1)).is_empty());
}

#[test]
fn tokens_that_the_hub_has_not_given_out_register_and_nothing_else() {
    let mut uplink = standing();
    assert_eq!(uplink.ask(1, ask("/send", Some("t")), at(1)).unwrap_err().code, Code::Unauthorized);
    uplink.ask(1, ask("/register", Some("old")), at(1)).unwrap();
    frames(&mut uplink, at(1));
    uplink.frame(&answer(1, 200, r#"{"ok":true,"peerToken":"t"}"#), at(2));
    uplink.ask(1, ask("/send", Some("t")), at(3)).unwrap();
    let sent = frames(&mut uplink, at(3)).concat();
    assert!(sent.contains(r#""as":"t""#), "{sent}");
    // It has left since.
    uplink.frame(&answer(2, 401, "{}"), at(4));
    assert_eq!(uplink.ask(1, ask("/send", Some("t")), at(5)).unwrap_err().code, Code::Unauthorized);
    for client in 10..19 {
        uplink.ask(client, ask("/register", Some("x")), at(6)).unwrap();
    }
    let refused = uplink.ask(20, ask("/register", Some("x")), at(7)).unwrap_err();
    assert_eq!(refused.code, Code::RateLimited);
    uplink.ask(20, ask("/register", None), at(7)).unwrap();
}

#[test]
fn what_was_never_sent_is_refused_and_what_was_sent_is_in_doubt() {
    let mut uplink = standing();
    uplink.ask(1, ask("/send", None), at(1)).unwrap();
    assert_eq!(frames(&mut uplink, at(1)).len(), 1);
    uplink.ask(2, ask("/send", None), at(2)).unwrap();
    uplink.disconnected("the cable was cut", at(2000), 255);
    assert_eq!(told(&mut uplink), [(1, 0), (2, 503)]);
    let refused = uplink.ask(3, ask("/send", None), at(2100)).unwrap_err();
    assert_eq!(refused.code, Code::HubUnreachable);
    assert_eq!(refused.detail, Detail::RetryAfterMs(100));
    for words in ["less than a second", "the cable was cut", "tried again in"] {
        assert!(refused.message.contains(words), "{}", refused.message);
    }
    let standing = uplink.standing();
    assert_eq!((standing.connected, standing.retry), (false, Some(at(2200))));
    assert_eq!(standing.you, MachineName::new("box"));
    // An answer that comes late is nobody's; and nothing is sent twice.
    uplink.frame(&answer(1, 200, "{}"), at(2150));
    uplink.tick(at(2200));
    assert_eq!(outputs(&mut uplink), [Output::Dial]);
    uplink.connected(at(2210), Timestamp(5));
    uplink.frame(&hello(env!("CARGO_PKG_VERSION")), at(2220));
    assert_eq!(frames(&mut uplink, at(2220)).len(), 2);
}

#[test]
fn requests_wait_for_the_first_attempt_and_for_no_other() {
    let mut uplink = Uplink::new("laptop", at(0));
    uplink.ask(1, ask("/send", None), at(0)).unwrap();
    uplink.ask(2, ask("/send", None), at(0)).unwrap();
    assert_eq!(outputs(&mut uplink), [Output::Dial]);
    uplink.connected(at(10), Timestamp(5));
    assert_eq!(frames(&mut uplink, at(10)).len(), 1, "hello, and no request before the hub's");
    uplink.frame(&hello(env!("CARGO_PKG_VERSION")), at(20));
    assert_eq!(frames(&mut uplink, at(20)).len(), 3);

    let mut uplink = Uplink::new("laptop", at(0));
    uplink.want(true, at(0));
    uplink.ask(1, ask("/send", None), at(0)).unwrap();
    assert_eq!(uplink.next_deadline(), Some(at(2000)));
    uplink.tick(at(2000));
    assert_eq!(told(&mut uplink), [(1, 503)]);
    uplink.ask(1, ask("/send", None), at(2100)).unwrap_err();
    uplink.tick(at(10_000));
    assert!(matches!(outputs(&mut uplink)[..], [Output::HangUp(_)]));
    uplink.disconnected("closed", at(10_001), 0);
    assert!(uplink.ask(1, ask("/send", None), at(10_001)).is_err());
    assert!(uplink.standing().error.unwrap().contains("does not answer"));
}

#[test]
fn it_is_tried_again_for_as_long_as_somebody_is_here() {
    let mut uplink = Uplink::<u8>::new("laptop", at(0));
    uplink.want(true, at(0));
    let mut pauses = Vec::new();
    let mut now = at(0);
    for _ in 0..8 {
        assert_eq!(outputs(&mut uplink), [Output::Dial]);
        uplink.disconnected("nobody listens", now, 255);
        let next = uplink.next_deadline().unwrap();
        pauses.push(next.since(now).as_millis());
        now = next;
        uplink.tick(now);
    }
    assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    uplink.disconnected("nobody listens", now, 127);
    assert_eq!(uplink.next_deadline().unwrap().since(now).as_millis(), 2500, "full jitter");
    assert_eq!(pause(u32::MAX, 255), UPLINK_BACKOFF_MAX);
}

#[test]
fn whoever_hangs_up_before_the_request_has_left_is_waited_for_by_nobody() {
    let mut uplink = Uplink::new("laptop", at(0));
    for asker in 1..=2 {
        uplink.ask(asker, ask("/messages", None), at(0)).unwrap();
        uplink.hung_up(asker);
    }
    uplink.hung_up(1);
    // Its connection has ended altogether.
    uplink.closed(2, |_| None);
    outputs(&mut uplink);
    uplink.connected(at(1), Timestamp(5));
    uplink.frame(&hello(env!("CARGO_PKG_VERSION")), at(1));
    let sent = frames(&mut uplink, at(1));
    let [.., request, cancel] = &*sent else { panic!("{sent:?}") };
    assert!(request.starts_with(r#"{"id":1,"#) && request.contains("/messages"), "{sent:?}");
    assert_eq!(cancel, r#"{"id":1,"cancel":true}"#);
    assert!(!sent.iter().any(|frame| frame.starts_with(r#"{"id":2,"#)), "{sent:?}");
}

#[test]
fn who_comes_and_goes_does_not_hurry_it() {
    let mut uplink = Uplink::new("laptop", at(0));
    uplink.ask(1, ask("/send", None), at(0)).unwrap();
    assert_eq!(outputs(&mut uplink), [Output::Dial]);
    uplink.disconnected("nobody listens", at(0), 255);
    assert_eq!(told(&mut uplink), [(1, 503)]);
    for wanted in [false, true, false] {
        uplink.want(wanted, at(1));
        uplink.tick(at(1));
    }
    assert_eq!((uplink.next_deadline(), outputs(&mut uplink)), (Some(at(200)), vec![]));
    uplink.tick(at(200));
    assert_eq!((uplink.next_deadline(), outputs(&mut uplink)), (None, vec![]), "nobody is here");
    // Whoever comes now waits a moment only for what was in vain.
    uplink.ask(1, ask("/send", None), at(300)).unwrap();
    assert_eq!(outputs(&mut uplink), [Output::Dial]);
    let over = at(300).plus(UPLINK_NEXT_DIAL_WAIT);
    assert_eq!(uplink.next_deadline(), Some(over));
    uplink.tick(over);
    assert_eq!(told(&mut uplink), [(1, 503)]);
    uplink.ask(1, ask("/send", None), over).unwrap_err();
}

#[test]
fn a_hub_that_says_no_is_not_asked_again_soon_and_its_words_are_told() {
    let mut uplink = Uplink::new("laptop", at(0));
    uplink.want(true, at(0));
    uplink.ask(1, ask("/send", None), at(0)).unwrap();
    outputs(&mut uplink);
    uplink.refused("this machine was removed", at(0));
    assert_eq!(told(&mut uplink), [(1, 503)]);
    assert_eq!(uplink.next_deadline(), Some(at(0).plus(UPLINK_REFUSED_PAUSE)));
    let refusal = uplink.ask(1, ask("/send", None), at(1)).unwrap_err();
    let said = "does not let this machine in: this machine was removed; it is tried again in 29 s";
    assert!(refusal.message.contains(said), "{}", refusal.message);
    assert!(uplink.standing().refused);
    assert_eq!(uplink.problem(at(1)), Some(refusal.message));
    uplink.tick(at(0).plus(UPLINK_REFUSED_PAUSE));
    assert_eq!(outputs(&mut uplink), [Output::Dial]);
    uplink.connected(at(400_000), Timestamp(5));
    uplink.frame(&hello(env!("CARGO_PKG_VERSION")), at(400_000));
    assert!(!uplink.standing().refused && uplink.problem(at(400_000)).is_none());
}

#[test]
fn a_person_who_asks_how_it_stands_does_not_wait_for_long_after_a_no() {
    let mut uplink = Uplink::<u8>::new("laptop", at(0));
    uplink.want(true, at(0));
    outputs(&mut uplink);
    uplink.refused("this machine was removed", at(0));
    uplink.want(true, at(500));
    assert_eq!(uplink.next_deadline(), Some(at(0).plus(UPLINK_REFUSED_PAUSE)));
    // However often that is: not sooner than after others.
    for ms in [1000, 1500, 4000] {
        uplink.hurry(at(ms));
        assert_eq!(uplink.next_deadline(), Some(at(0).plus(UPLINK_BACKOFF_MAX)));
    }
    uplink.tick(at(0).plus(UPLINK_BACKOFF_MAX));
    assert_eq!(outputs(&mut uplink), [Output::Dial]);
    uplink.refused("this machine was removed", at(10_000));
    uplink.hurry(at(22_000));
    assert_eq!(uplink.next_deadline(), Some(at(22_000)));
}

#[test]
fn one_that_lasted_is_tried_soon_and_one_that_did_not_later_each_time() {
    let mut uplink = standing();
    uplink.disconnected("cut", at(5000), 255);
    assert_eq!(uplink.next_deadline(), Some(at(5200)));
    uplink.tick(at(5200));
    uplink.connected(at(5200), Timestamp(5));
    uplink.frame(&hello(env!("CARGO_PKG_VERSION")), at(5200));
    uplink.disconnected("cut", at(5300), 255);
    assert_eq!(uplink.next_deadline(), Some(at(5700)));
}

#[test]
fn silence_after_a_ping_ends_the_connection_and_any_byte_is_an_answer() {
    let mut uplink = standing();
    assert_eq!(uplink.next_deadline(), Some(at(15_000)));
    uplink.ask(1, ask("/messages", None), at(1000)).unwrap();
    frames(&mut uplink, at(1000));
    uplink.heard(at(1500));
    assert_eq!(uplink.next_deadline(), Some(at(2000)));
    uplink.tick(at(2000));
    assert_eq!(outputs(&mut uplink), [Output::Ping]);
    uplink.tick(at(2500));
    assert_eq!(uplink.next_deadline(), Some(at(5000)));
    uplink.heard(at(2600));
    // A request that is held is asked after once.
    assert_eq!(uplink.next_deadline(), Some(at(17_600)));
    uplink.tick(at(17_600));
    assert_eq!(outputs(&mut uplink), [Output::Ping]);
    // The ping waits behind other bytes, which move.
    uplink.moved(at(19_000));
    assert_eq!(uplink.next_deadline(), Some(at(22_000)));
    uplink.tick(at(22_000));
    let out = outputs(&mut uplink);
    assert!(matches!(&out[..], [Output::HangUp(words)] if words.contains("nothing was heard")));
    uplink.disconnected("closed", at(22_001), 0);
    assert_eq!(told(&mut uplink), [(1, 0)]);
}

#[test]
fn a_hub_of_another_major_version_is_refused_with_words() {
    let mut uplink = Uplink::<u8>::new("laptop", at(0));
    uplink.want(true, at(0));
    uplink.connected(at(0), Timestamp(5));
    uplink.frame(&hello("99.1.0\n"), at(0));
    let out = outputs(&mut uplink);
    let [Output::Dial, Output::HangUp(words)] = &out[..] else { panic!("{out:?}") };
    assert!(words.contains("99.1.0") && words.contains("update"), "{words}");
    uplink.disconnected("closed", at(1), 0);
    assert!(uplink.standing().error.unwrap().contains("99.1.0"));
    // Neither will be another one by the next try.
    assert_eq!(uplink.next_deadline(), Some(at(1).plus(UPLINK_REFUSED_PAUSE)));
}

#[test]
fn a_hub_that_says_what_it_should_not_is_left() {
    for bad in [
        answer(7, 200, "{}"),
        hello(env!("CARGO_PKG_VERSION")),
        "[]".to_owned(),
        r#"{"watch":1}"#.to_owned(),
    ] {
        let mut uplink = standing();
        uplink.frame(&bad, at(1));
        assert!(matches!(outputs(&mut uplink)[..], [Output::HangUp(_)]), "{bad}");
        uplink.frame(&answer(7, 200, "{}"), at(1));
        assert_eq!(frames(&mut uplink, at(1)), [] as [&str; 0]);
    }
    let mut uplink = standing();
    uplink.frame(r#"{"later":true}"#, at(1));
    assert_eq!(outputs(&mut uplink), []);
}

#[test]
fn a_client_that_goes_is_told_of_once_and_a_lock_it_was_given_is_lost() {
    let mut uplink = standing();
    uplink.ask(1, ask("/lock", None), at(1)).unwrap();
    uplink.ask(2, ask("/lock", None), at(1)).unwrap();
    assert_eq!(frames(&mut uplink, at(1)).len(), 2);
    uplink.ask(3, ask("/lock", None), at(1)).unwrap();
    uplink.hung_up(1);
    uplink.hung_up(1);
    uplink.closed(1, |_| panic!("it was not answered"));
    // The third was never sent, and never will be.
    uplink.closed(3, |_| panic!("it was not answered"));
    assert_eq!(frames(&mut uplink, at(2)), [r#"{"id":1,"cancel":true}"#]);
    uplink.frame(&answer(1, 200, "{}"), at(3));
    uplink.frame(&answer(2, 200, "{}"), at(3));
    assert_eq!(told(&mut uplink), [(2, 200)]);
    uplink.closed(2, |given| Some(Lost::Reset { after: at(13).since(given) }));
    assert_eq!(
        frames(&mut uplink, at(4)),
        [r#"{"id":1,"lost":true}"#, r#"{"id":2,"lost":true,"after":10}"#]
    );
    // One that was not even handed out is lost, too.
    uplink.ask(5, ask("/lock", None), at(4)).unwrap();
    frames(&mut uplink, at(4));
    uplink.frame(&answer(4, 200, "{}"), at(4));
    uplink.closed(5, |_| None);
    assert_eq!(told(&mut uplink), []);
    assert_eq!(frames(&mut uplink, at(4)), [r#"{"id":4,"lost":true}"#]);
    // Whoever goes on has its answer.
    uplink.ask(4, ask("/lock", None), at(5)).unwrap();
    frames(&mut uplink, at(5));
    uplink.frame(&answer(5, 200, "{}"), at(5));
    uplink.ask(4, ask("/send", None), at(6)).unwrap();
    frames(&mut uplink, at(6));
    uplink.closed(4, |_| Some(Lost::Unwritten));
    assert_eq!(frames(&mut uplink, at(6)), [r#"{"id":6,"cancel":true}"#]);
    assert_eq!(uplink.queued, 0);
}

#[test]
fn more_than_the_connection_takes_is_refused() {
    let mut uplink = standing();
    let body = format!("\"{}\"", "x".repeat(300_000));
    let big = Asked { body: body.as_bytes(), ..ask("/send", None) };
    for client in 1..5 {
        assert!(!uplink.is_full());
        uplink.ask(client, big, at(1)).unwrap();
    }
    assert!(uplink.is_full());
    assert_eq!(uplink.ask(9, big, at(1)).unwrap_err().code, Code::Unavailable);
    frames(&mut uplink, at(1));
    uplink.ask(9, big, at(1)).unwrap();
}

fn connect(n: u8, path: &str) -> String {
    ToRelay::Connect { peer: peer(n), path: path.to_owned().into() }.text()
}

fn announced(n: u8, link: u64) -> String {
    ToRelay::Announced { peer: peer(n), link }.text()
}

fn push(n: u8, seq: u64) -> String {
    ToRelay::Push { to: peer(n), push: "{\n}", seq: Some(Seq(seq)) }.text()
}

/// The messages in what is to be pushed.
fn pushed(uplink: &mut Uplink<u8>) -> Vec<u64> {
    let pushes = uplink.take_effects().pushes.into_iter();
    pushes.filter_map(|push| push.frame.message().map(|seq| seq.0)).collect()
}

#[test]
fn a_way_is_pushed_to_once_the_hub_has_taken_note_of_it() {
    let mut uplink = standing();
    uplink.frame(&connect(1, "/a"), at(1));
    assert_eq!(uplink.take_effects().connect, [(peer(1), "/a".into())]);
    uplink.hear(News::Up(peer(1), true));
    uplink.hear(News::Down(peer(1)));
    uplink.hear(News::Up(peer(1), true));
    // What was meant for the first way reaches nobody.
    uplink.frame(&announced(1, 1), at(2));
    uplink.frame(&push(1, 1), at(2));
    assert_eq!((uplink.take_announced(), pushed(&mut uplink)), (vec![], vec![]));
    uplink.frame(&announced(1, 2), at(3));
    uplink.frame(&push(1, 1), at(3));
    assert_eq!((uplink.take_announced(), pushed(&mut uplink)), (vec![peer(1)], vec![1]));
    let said = frames(&mut uplink, at(3)).concat();
    assert!(said.contains(r#""path":"/a","link":2,"process":true"#), "{said}");
}

#[test]
fn after_a_cut_all_is_named_again_and_no_peer_is_given_anything_twice() {
    let mut uplink = standing();
    for n in 1..=3 {
        uplink.frame(&connect(n, "/a"), at(1));
        uplink.hear(News::Up(peer(n), n == 1));
        uplink.frame(&announced(n, u64::from(n)), at(1));
    }
    for seq in 1..=3 {
        uplink.frame(&push(1, seq), at(1));
        uplink.hear(News::Written(peer(1), Seq(seq)));
    }
    assert_eq!(pushed(&mut uplink), [1, 2, 3]);
    uplink.hear(News::Acknowledged(peer(1), id(1)));
    uplink.hear(News::Acknowledged(peer(1), id(1)));
    uplink.hear(News::Acknowledged(peer(1), id(77)));
    let said = frames(&mut uplink, at(1));
    assert_eq!(said.iter().filter(|frame| frame.contains("\"ack\"")).count(), 1, "{said:?}");
    uplink.disconnected("cut", at(2), 0);
    uplink.hear(News::Acknowledged(peer(1), id(2)));
    uplink.hear(News::Ended(peer(2)));
    uplink.hear(News::Down(peer(2)));
    uplink.hear(News::Down(peer(3)));
    uplink.tick(at(3));
    uplink.connected(at(3), Timestamp(5));
    uplink.frame(&hello(env!("CARGO_PKG_VERSION")), at(3));
    let said = frames(&mut uplink, at(3));
    let (p1, p2, m1, m2) = (peer(1), peer(2), id(1), id(2));
    let expected = format!(
        r#"{{"peers":[{{"peer":"{p1}","path":"/a","link":1,"process":true,"confirmed":["{m1}","{m2}"],"written":[1,2,3]}}],"ended":[{{"peer":"{p2}","path":"/a"}}],"got":[]}}"#
    );
    assert_eq!(said[1..], [expected]);
    uplink.frame(&announced(1, 1), at(4));
    for seq in 1..=4 {
        uplink.frame(&push(1, seq), at(4));
    }
    assert_eq!(pushed(&mut uplink), [4]);
    let said = frames(&mut uplink, at(4));
    assert_eq!(said.iter().filter(|frame| frame.contains("\"ack\"")).count(), 2, "{said:?}");
    // The third was written and not acknowledged: that it was is news as before.
    uplink.hear(News::Acknowledged(peer(1), id(3)));
    assert_eq!(frames(&mut uplink, at(4)).len(), 1);
    // A way that comes later names what the hub was not told; once.
    uplink.hear(News::Up(peer(3), true));
    uplink.hear(News::Down(peer(1)));
    uplink.hear(News::Up(peer(1), true));
    let said = frames(&mut uplink, at(5));
    assert!(said[2].contains(r#""confirmed":[]"#), "{said:?}");
}

#[test]
fn what_is_over_before_it_was_carried_out_is_not_carried_out() {
    let mut uplink = standing();
    let p = peer(1);
    for frame in [
        connect(1, "/a"),
        ToRelay::Watch { peer: p, pid: 4 }.text(),
        ToRelay::WatchAgent { peer: p, pid: 4, start: "s".into() }.text(),
        ToRelay::Disconnect { peer: p }.text(),
        connect(1, "/b"),
    ] {
        uplink.frame(&frame, at(1));
    }
    let effects = uplink.take_effects();
    assert_eq!((effects.connect, effects.disconnect), (vec![(p, "/b".into())], vec![p]));
    assert_eq!((effects.watch.len(), effects.agents.len()), (1, 1));
    for frame in [
        connect(1, "/a"),
        ToRelay::Watch { peer: p, pid: 4 }.text(),
        ToRelay::Departed { peer: p, reason: "crashed".into(), path: Some("/a".into()) }.text(),
        ToRelay::Abandoned { path: "/c".into() }.text(),
    ] {
        uplink.frame(&frame, at(1));
    }
    let effects = uplink.take_effects();
    assert!(effects.connect.is_empty() && effects.watch.is_empty());
    assert_eq!(&*effects.abandoned[0].path, "/c");
    assert_eq!(effects.departed[0].uds_path.as_deref(), Some("/a"));
    // Its end is said, so that the hub believes what comes after.
    uplink.hear(News::Process(p, false));
    let said = frames(&mut uplink, at(1));
    assert_eq!(said, [format!(r#"{{"process":"{p}","known":false}}"#)]);
    assert!(uplink.is_idle(|_| true));
}
