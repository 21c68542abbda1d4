use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::agents::{CLAUDE_CODE, CODEX};
use crate::limits::{CLAIM_RENEW_EVERY, NOTICES_KNOWN_MAX};
use crate::mcp::server::tests::{listed, message_id as id};

fn claude() -> Waking {
    let mut waking = Waking::new(Some(&CLAUDE_CODE));
    waking.meet(CLAUDE_CODE.agent_type, true);
    waking
}

fn codex() -> Waking {
    let mut waking = Waking::new(Some(&CLAUDE_CODE));
    waking.meet(CODEX.agent_type, false);
    let meta = json!({"threadId": "t-1", "sessionId": "s-1", "progressToken": 5});
    waking.identify(codex_thread(&meta).unwrap());
    waking.take_thread();
    waking
}

fn message(n: u64, text: &str) -> MessageInfo {
    serde_json::from_value(listed(n, text)).unwrap()
}

fn from(n: u64, name: &str) -> MessageInfo {
    let mut listed = listed(n, "x");
    listed["fromPeer"] = name.into();
    listed["fromName"] = name.into();
    serde_json::from_value(listed).unwrap()
}

const CLAIM: Uuid = Uuid::from_bytes([7; 16]);

#[expect(clippy::unnecessary_wraps, reason = "nobody may know what was handed out")]
fn handed_out(messages: Vec<MessageInfo>) -> Option<Claimed> {
    let claim_id = (!messages.is_empty()).then_some(CLAIM);
    Some(Claimed { messages, claim_id, ..Claimed::default() })
}

#[expect(clippy::unnecessary_wraps, reason = "nobody may know what was handed out")]
fn deferred(ms: u64) -> Option<Claimed> {
    Some(Claimed { defer_ms: Some(ms), ..Claimed::default() })
}

impl Waking {
    /// What is told of this; nothing is claimed otherwise.
    #[track_caller]
    fn tells(&mut self, claimed: Option<Claimed>, now: Instant) -> Option<Telling> {
        assert!(self.poll(now).is_some(), "nothing is claimed");
        assert_eq!(self.poll(now), None, "one at a time");
        self.claimed(claimed, |_| false, now)
    }

    /// The same, of what has just come, and the way has taken it; returns the text.
    #[track_caller]
    fn told(&mut self, by: Way, claimed: Option<Claimed>, now: Instant) -> String {
        self.sign(Sign::Message);
        let telling = self.tells(claimed, now).expect("something to tell");
        assert_eq!(telling.by, by);
        self.handle(by, WayReport::Sent(telling.notice.id), now);
        self.handle(by, WayReport::Free, now);
        telling.notice.text
    }

    /// What the broker is told, all of it.
    fn errands(&mut self, now: Instant) -> Vec<Request> {
        let mut requests = Vec::new();
        while let Some(request) = self.errands.take(now) {
            requests.push(request);
            self.errands.done();
        }
        requests
    }
}

fn marked(ids: &[u64], status: SentStatus, claim_id: Option<Uuid>) -> Request {
    let (ids, way) = (ids.iter().map(|n| id(*n)).collect(), Way::InboxSocket);
    Request::MarkSent { peer_id: None, ids, way, status, whole: true, claim_id }
}

fn released() -> Request {
    Request::ReleaseClaim { peer_id: None, claim_id: CLAIM }
}

#[test]
fn a_sign_leads_to_a_claim_and_what_is_handed_out_is_told_and_marked() {
    let now = Instant::now();
    let mut waking = claude();
    assert_eq!((waking.reach(), waking.poll(now)), ("wakes", None));
    waking.sign(Sign::Message);
    assert_eq!(waking.poll(now), Some(Way::InboxSocket));
    let telling = waking.claimed(handed_out(vec![message(1, "one")]), |_| false, now).unwrap();
    assert_eq!(
        (telling.by, telling.notice.id, &*telling.notice.from),
        (Way::InboxSocket, 1, "cli")
    );
    assert!(telling.notice.text.contains("\"one\""), "{}", telling.notice.text);
    // Until that is through, the others wait where they are.
    waking.sign(Sign::Message);
    assert_eq!((waking.poll(now), waking.errands(now)), (None, vec![]));
    waking.handle(Way::InboxSocket, WayReport::Sent(1), now);
    waking.handle(Way::InboxSocket, WayReport::Free, now);
    assert_eq!(waking.poll(now), None, "what is told is marked first");
    waking.handle(Way::InboxSocket, WayReport::Sent(1), now);
    waking.handle(Way::InboxSocket, WayReport::Sent(77), now);
    assert_eq!(waking.errands(now), [marked(&[1], SentStatus::Sent, Some(CLAIM))]);
    let two = handed_out(vec![message(2, "two"), from(3, "bob")]);
    let telling = waking.tells(two, now).unwrap();
    assert_eq!((telling.notice.id, &*telling.notice.from), (2, "slm-mesh"));
    assert!(telling.notice.text.starts_with("slm-mesh: 2 messages"), "{}", telling.notice.text);
}

#[test]
fn nothing_is_asked_again_before_there_is_a_reason() {
    let now = Instant::now();
    let mut waking = claude();
    waking.sign(Sign::Wake);
    assert_eq!(waking.tells(handed_out(vec![]), now), None);
    assert_eq!((waking.poll(now), waking.deadline(false)), (None, None));
    // A sign that comes while it is asked counts for the next time.
    waking.sign(Sign::Wake);
    waking.poll(now).unwrap();
    waking.sign(Sign::Message);
    assert_eq!(waking.claimed(handed_out(vec![]), |_| false, now), None);
    assert!(waking.poll(now).is_some());

    // Nobody knows: a moment later, then.
    assert_eq!(waking.claimed(None, |_| false, now), None);
    let later = now + RETRY_EVERY;
    assert_eq!((waking.poll(now), waking.deadline(false)), (None, Some(later)));
    assert_eq!(waking.deadline(true), None, "not while messages are fetched");
    assert_eq!(waking.tells(deferred(5_000), later), None);
    let later = later + Duration::from_secs(5);
    assert_eq!((waking.poll(now), waking.deadline(false)), (None, Some(later)));
    assert_eq!(waking.tells(deferred(u64::MAX), later), None);
    assert_eq!(waking.deadline(false), Some(later + CLAIM_DEFER_MAX));
    // But at once when the turn is over, or a message comes.
    for sign in [Sign::Wake, Sign::Message] {
        waking.sign(sign);
        assert_eq!(waking.tells(deferred(5_000), later), None);
    }
}

#[test]
fn what_has_no_room_is_let_go_and_told_later() {
    let now = Instant::now();
    let mut waking = claude();
    let messages: Vec<MessageInfo> = (0..20).map(|n| message(n, &"é".repeat(900))).collect();
    let text = waking.told(Way::InboxSocket, handed_out(messages), now);
    assert!(text.contains("more by mesh_inbox"), "{text}");
    let requests = waking.errands(now);
    let [Request::MarkSent { ids, .. }, release] = &requests[..] else { panic!("{requests:?}") };
    assert!((2..20).contains(&ids.len()) && *release == released());
    // The agent may get them itself, now that it knows; only what is new does not wait.
    let later = now + WAKE_DIGEST_EVERY;
    waking.sign(Sign::Wake);
    assert_eq!((waking.poll(now), waking.deadline(false)), (None, Some(later)));
    assert!(waking.poll(later).is_some());

    // Of one that is too long there is only the beginning.
    let mut waking = claude();
    waking.told(Way::InboxSocket, handed_out(vec![message(1, &"x".repeat(9_000))]), now);
    let requests = waking.errands(now);
    assert!(matches!(&requests[..], [Request::MarkSent { whole: false, .. }]), "{requests:?}");
}

#[test]
fn what_the_agent_has_is_not_told() {
    let now = Instant::now();
    let mut waking = claude();
    waking.sign(Sign::Message);
    waking.poll(now).unwrap();
    let both = handed_out(vec![message(1, "one"), message(2, "two")]);
    let telling = waking.claimed(both, |message| message == id(1), now).unwrap();
    assert!(!telling.notice.text.contains("one") && telling.notice.text.contains("\"two\""));
    waking.handle(Way::InboxSocket, WayReport::Sent(1), now);
    let requests = [marked(&[2], SentStatus::Sent, Some(CLAIM)), released()];
    assert_eq!(waking.errands(now), requests);

    // It is given out until it is marked, which takes a moment.
    let mut waking = claude();
    waking.sign(Sign::Message);
    waking.poll(now).unwrap();
    assert_eq!(waking.claimed(handed_out(vec![message(1, "one")]), |_| true, now), None);
    assert_eq!(waking.errands(now), [released()]);
    waking.sign(Sign::Wake);
    assert_eq!((waking.poll(now), waking.deadline(false)), (None, Some(now + RETRY_EVERY)));
}

#[test]
fn events_are_put_together_and_go_with_messages() {
    let event = |seq: u64| json!({"eventType": "a.b", "seq": seq, "data": seq});
    let now = Instant::now();
    let mut waking = claude();
    assert!(waking.add_event(&event(1)));
    let telling = waking.tells(handed_out(vec![]), now).unwrap();
    assert!(telling.notice.text.contains("event a.b"), "{}", telling.notice.text);
    waking.handle(Way::InboxSocket, WayReport::Sent(1), now);
    waking.handle(Way::InboxSocket, WayReport::Free, now);
    assert!(waking.errands.is_empty(), "nobody is told of events");
    let due = now + WAKE_DIGEST_EVERY;
    waking.add_event(&event(2));
    assert_eq!((waking.poll(now), waking.deadline(false)), (None, Some(due)));
    let text = waking.told(Way::InboxSocket, handed_out(vec![message(1, "one")]), now);
    assert!(text.contains("\"one\"") && text.contains("event a.b: \"2\""), "{text}");
    waking.errands(now);
    // In a turn they wait, too, and are told with it over.
    waking.add_event(&event(3));
    waking.add_event(&event(4));
    assert_eq!(waking.tells(deferred(3_000), due), None);
    waking.sign(Sign::Wake);
    let telling = waking.tells(handed_out(vec![]), due).unwrap();
    assert!(telling.notice.text.starts_with("slm-mesh: 2 events"), "{}", telling.notice.text);
    for seq in 0..2 * WAKE_EVENTS_MAX as u64 {
        waking.add_event(&event(seq));
    }
    assert_eq!(waking.events.len(), WAKE_EVENTS_MAX);
}

#[test]
fn events_that_no_way_has_told_are_given_back() {
    let now = Instant::now();
    let event = |seq: u64| json!({"eventType": "a.b", "seq": seq});
    let mut waking = claude();
    assert!(waking.add_event(&event(1)));
    waking.tells(handed_out(vec![]), now).unwrap();
    assert!(waking.add_event(&event(2)));
    assert!(waking.take_untold().is_empty());
    waking.handle(Way::InboxSocket, WayReport::Failed("gone".into()), now);
    // What is told by the channel is seen, or is not.
    let later = now + WAKE_DIGEST_EVERY;
    assert_eq!(waking.tells(handed_out(vec![]), later).unwrap().by, Way::Channel);
    let back = [1, 2].map(|seq| (Seq(seq), "a.b".into()));
    assert_eq!(waking.take_untold(), back);
    assert!(!waking.add_event(&event(3)));
    let telling = waking.tells(handed_out(vec![]), later + WAKE_DIGEST_EVERY);
    assert!(telling.is_some() && waking.take_untold().is_empty(), "whoever was told no has it");
    // Without any way they are left at once.
    let mut waking = claude();
    waking.add_event(&event(1));
    waking.meet("gemini-cli", false);
    assert_eq!(waking.take_untold(), [(Seq(1), "a.b".into())]);
}

#[test]
fn a_way_that_fails_is_followed_by_the_next() {
    let now = Instant::now();
    let mut waking = claude();
    waking.introduce();
    waking.sign(Sign::Message);
    waking.tells(handed_out(vec![message(1, "one")]), now).unwrap();
    waking.handle(Way::InboxSocket, WayReport::Failed("no".into()), now);
    assert!(waking.has_changed());
    assert_eq!(waking.introduce(), ("next-call", None));
    assert!(!waking.has_changed());
    assert_eq!(waking.errands(now), [released()], "another may tell it");
    // By the channel instead, which proves nothing: it lets go of what it has told, and does not tell
    // that again when it is handed out the next time.
    let one = || message(1, "one");
    let telling = waking.tells(handed_out(vec![one()]), now).unwrap();
    assert_eq!(telling.by, Way::Channel);
    assert_eq!(waking.errands(now), [released()]);
    waking.sign(Sign::Wake);
    assert_eq!(waking.poll(now), None, "or it would go on for ever");
    waking.sign(Sign::Message);
    let telling = waking.tells(handed_out(vec![one(), message(2, "two")]), now).unwrap();
    assert!(!telling.notice.text.contains("one") && telling.notice.text.contains("two"));
    assert_eq!(waking.errands(now), [released()]);
    assert_eq!((waking.poll(now), waking.deadline(false)), (None, None));
    waking.handle(Way::InboxSocket, WayReport::Sent(1), now);
    assert!(waking.errands.is_empty());

    // Without the channel there is only the notice.
    waking.meet(CLAUDE_CODE.agent_type, false);
    waking.sign(Sign::Message);
    assert_eq!((waking.poll(now), waking.deadline(false)), (None, None));
}

#[test]
fn a_connection_that_was_lost_is_made_up_for() {
    let now = Instant::now();
    let mut waking = claude();
    waking.told(Way::InboxSocket, handed_out(vec![message(1, "one")]), now);
    waking.errands(now);
    waking.sign(Sign::Message);
    waking.tells(handed_out(vec![message(2, "two")]), now).unwrap();
    waking.handle(Way::InboxSocket, WayReport::Lost, now);
    assert_eq!(waking.errands(now), [released()]);
    let telling = waking.tells(handed_out(vec![message(2, "two")]), now).unwrap();
    assert_eq!(telling.notice.id, 3);
}

#[test]
fn later_words_about_a_notice_are_passed_on() {
    let now = Instant::now();
    let by = Way::InboxSocket;
    let mut waking = claude();
    waking.told(by, handed_out(vec![message(1, "one")]), now);
    assert_eq!(waking.errands(now), [marked(&[1], SentStatus::Sent, Some(CLAIM))]);
    for status in [SentStatus::Held, SentStatus::Refused, SentStatus::Declined] {
        for _ in 0..2 {
            waking.handle(by, WayReport::Status(1, status), now);
        }
        assert_eq!(waking.errands(now), [marked(&[1], status, None)]);
        // Its user keeps it back: nothing more is given to it.
        assert_eq!((waking.reach(), waking.has_changed()), ("held", true));
        waking.sign(Sign::Message);
        assert_eq!((waking.poll(now), waking.add_event(&json!({"seq": 1}))), (None, false));
    }
    waking.try_again(now + HELD_RETRY_AFTER / 2);
    assert_eq!((waking.reach(), waking.poll(now)), ("held", None));
    waking.handle(by, WayReport::Status(1, SentStatus::Sent), now);
    assert_eq!(waking.errands(now), [marked(&[1], SentStatus::Sent, None)]);
    assert_eq!(waking.reach(), "wakes");

    // The word may come before the way has taken it all, and is not undone by that.
    let telling = waking.tells(handed_out(vec![message(2, "two")]), now).unwrap();
    waking.handle(by, WayReport::Status(telling.notice.id, SentStatus::Held), now);
    waking.handle(by, WayReport::Sent(telling.notice.id), now);
    waking.handle(by, WayReport::Free, now);
    assert_eq!(waking.errands(now), [marked(&[2], SentStatus::Held, Some(CLAIM))]);
    waking.handle(by, WayReport::Status(99, SentStatus::NotRunning), now);
    assert!(waking.errands.is_empty(), "nobody knows of that");

    // There is an end to what is remembered.
    waking.handle(by, WayReport::Status(telling.notice.id, SentStatus::Sent), now);
    for n in 0..=NOTICES_KNOWN_MAX as u64 {
        waking.errands(now);
        waking.told(by, handed_out(vec![message(n, "x")]), now);
    }
    waking.errands(now);
    waking.handle(by, WayReport::Status(1, SentStatus::Sent), now);
    assert!(waking.errands.is_empty());
}

#[test]
fn what_is_thrown_away_is_told_by_others_and_by_this_way_only_once_more() {
    let now = Instant::now();
    let by = Way::InboxSocket;
    let mut waking = claude();
    waking.told(by, handed_out(vec![message(1, "one")]), now);
    waking.errands(now);
    waking.handle(by, WayReport::Status(1, SentStatus::Dropped), now);
    assert_eq!(waking.errands(now), [marked(&[1], SentStatus::Dropped, None)]);
    waking.sign(Sign::Wake);
    assert_eq!(waking.poll(now), None);
    let later = now + WAKE_DIGEST_EVERY;
    let telling = waking.tells(handed_out(vec![message(1, "one")]), later).unwrap();
    // Even before it was taken: then there is nothing to be taken back.
    waking.handle(by, WayReport::Status(telling.notice.id, SentStatus::Dropped), later);
    assert_eq!(waking.errands(later), [released()]);
    assert_eq!(waking.reach(), "next-call");

    // One that is taken in between is as good as new.
    let mut waking = claude();
    for status in [SentStatus::Dropped, SentStatus::Sent, SentStatus::Dropped] {
        waking.told(by, handed_out(vec![message(1, "one")]), now);
        waking.handle(by, WayReport::Status(waking.count, status), now);
        waking.errands(now);
    }
    assert_eq!(waking.reach(), "wakes");
}

#[test]
fn a_claim_is_renewed_as_long_as_a_way_is_at_it() {
    let now = Instant::now();
    let mut waking = codex();
    waking.sign(Sign::Message);
    waking.tells(handed_out(vec![message(1, "one")]), now).unwrap();
    let due = now + CLAIM_RENEW_EVERY;
    assert_eq!(waking.deadline(true), Some(due));
    waking.renew(now);
    assert!(waking.errands.is_empty());
    waking.renew(due);
    waking.renew(due);
    let renew = Request::RenewClaim { peer_id: None, claim_id: CLAIM };
    assert_eq!(waking.errands(due), [renew]);
    waking.handle(Way::Queue, WayReport::Sent(1), due);
    waking.handle(Way::Queue, WayReport::Free, due);
    assert_eq!(waking.deadline(false), None);
    // Whoever ends lets go of it.
    waking.errands(due);
    waking.sign(Sign::Message);
    waking.tells(handed_out(vec![message(2, "two")]), due).unwrap();
    assert_eq!(waking.take_last_errands(), [released()]);
}

#[test]
fn what_is_in_the_agents_own_queue_as_a_whole_need_not_be_fetched() {
    let now = Instant::now();
    let by = Way::InboxSocket;
    let mut waking = claude();
    let long = message(4, &"x".repeat(9_000));
    let messages = [1, 2, 3].map(|n| message(n, "x")).into_iter().chain([long]).collect();
    waking.told(by, handed_out(messages), now);
    assert_eq!(waking.queued_whole(), 3);
    waking.were_read(|read| read == id(1));
    waking.answered_to(None);
    waking.answered_to(Some(id(2).into()));
    assert_eq!(waking.queued_whole(), 1);
    waking.only_unread(&[message(3, "x"), message(4, "x")]);
    assert_eq!(waking.queued_whole(), 1);
    // What its user keeps back is not there.
    waking.handle(by, WayReport::Status(1, SentStatus::Held), now);
    assert_eq!(waking.queued_whole(), 0);
    waking.handle(by, WayReport::Status(1, SentStatus::Sent), now);
    waking.only_unread(&[]);
    assert_eq!(waking.queued_whole(), 0);
}

#[test]
fn an_answer_of_the_agent_belongs_to_a_message() {
    let now = Instant::now();
    let by = Way::InboxSocket;
    let mut waking = claude();
    let answered = |waking: &Waking, text: &str| {
        waking.answered(by, text).map(|(id, to)| (id.seq().0, to.to_string()))
    };
    assert_eq!(answered(&waking, "hello"), None);
    waking.told(by, handed_out(vec![from(1, "ann"), from(2, "bob")]), now);
    waking.errands(now);
    waking.told(by, handed_out(vec![from(3, "carl")]), now);
    waking.errands(now);
    waking.add_event(&json!({"eventType": "a.b", "seq": 1}));
    waking.tells(handed_out(vec![]), now).unwrap();
    let party = |name: &str| Party::parse(name).to_string();
    assert_eq!(answered(&waking, "ok"), Some((3, party("carl"))));
    // By a handle as a word, in any case; those of others do not count.
    for (n, name) in [(1, "ann"), (2, "bob"), (3, "carl")] {
        let handle = id(n).handle().to_string();
        let named = format!("{}: ok (to {})", id(9).handle(), handle.to_uppercase());
        assert_eq!(answered(&waking, &named), Some((n, party(name))));
        assert_eq!(answered(&waking, &format!("x{handle}")), Some((3, party("carl"))));
    }
    assert!(waking.answered(Way::Queue, "ok").is_none());
}

#[test]
fn a_socket_of_another_agent_is_left_alone() {
    for agent in ["codex", "gemini-cli", "unknown"] {
        let mut waking = Waking::new(Some(&CLAUDE_CODE));
        waking.meet(agent, false);
        waking.sign(Sign::Message);
        assert_eq!((waking.reach(), waking.poll(Instant::now())), ("next-call", None), "{agent}");
        assert!(!waking.has_inbox_socket());
    }
}

#[test]
fn codex_is_told_once_its_thread_is_known() {
    let now = Instant::now();
    let mut waking = Waking::new(None);
    waking.meet(CODEX.agent_type, false);
    waking.sign(Sign::Message);
    assert_eq!((waking.reach(), waking.take_thread(), waking.poll(now)), ("next-call", None, None));
    waking.identify("t-1".into());
    assert_eq!(waking.take_thread().as_deref(), Some("t-1"));
    assert_eq!(waking.take_thread(), None);
    assert_eq!(waking.introduce(), ("wakes", Some("t-1".into())));
    // What came before is told, too.
    let telling = waking.tells(handed_out(vec![message(1, "one")]), now).unwrap();
    assert_eq!(telling.by, Way::Queue);
    waking.handle(Way::Queue, WayReport::Failed("no".into()), now);
    assert_eq!((waking.reach(), waking.has_changed()), ("next-call", true));
    waking.identify("t-1".into());
    assert_eq!(waking.take_thread(), None, "it has failed");
    waking.identify("t-2".into());
    assert_eq!(waking.take_thread().as_deref(), Some("t-2"));
    assert_eq!(waking.introduce(), ("wakes", Some("t-2".into())));
}

#[test]
fn nothing_is_queued_where_nobody_would_see_it() {
    let now = Instant::now();
    let mut waking = codex();
    waking.watch(false);
    waking.sign(Sign::Message);
    assert_eq!((waking.reach(), waking.poll(now)), ("next-call", None));
    assert!(!waking.is_about_to_queue(now) && waking.has_queue());
    waking.watch(true);
    assert!(waking.is_about_to_queue(now));
    assert_eq!(waking.poll(now), Some(Way::Queue));
    // The window was closed meanwhile.
    waking.watch(false);
    assert_eq!(waking.claimed(handed_out(vec![message(1, "one")]), |_| false, now), None);
    assert_eq!(waking.errands(now), [released()]);
}

#[test]
fn ids_of_others_are_not_taken_for_those_of_codex() {
    let mut waking = Waking::new(None);
    waking.meet("gemini-cli", false);
    waking.identify("t".into());
    assert_eq!((waking.take_thread(), waking.session_id()), (None, None));
    for bad in [
        json!({"threadId": "--message"}),
        json!({"threadId": ""}),
        json!({"threadId": 5}),
        json!({"threadId": "a b"}),
        json!({"threadId": "é"}),
        json!({"threadId": "x".repeat(TAG_CHARS_MAX + 1)}),
        json!({"sessionId": "s"}),
        json!([]),
        Value::Null,
    ] {
        assert_eq!(codex_thread(&bad), None, "{bad}");
    }
}
