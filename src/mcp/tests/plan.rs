use std::time::Duration;

use serde_json::json;

use super::super::text::tests::pushed;
use super::*;
use crate::limits::RECORD_DELAY;
use crate::model::Seq;

fn id(n: u64) -> MessageId {
    MessageId::new(Seq(n), [0; 16])
}

fn broadcast(n: u64) -> PushedMessage {
    PushedMessage { broadcast: true, ..pushed(n, "to all") }
}

fn claude() -> Waking {
    let mut waking = Waking::new(Some("claude-code"));
    waking.meet(CLAUDE_CODE, true);
    waking
}

fn codex() -> Waking {
    let mut waking = Waking::new(Some("claude-code"));
    waking.meet(CODEX, false);
    let meta = json!({"threadId": "t-1", "sessionId": "s-1", "progressToken": 5});
    waking.identify(codex_thread(&meta).unwrap());
    waking
}

/// What is told now; by this way, and it is taken at once.
#[track_caller]
fn told(waking: &mut Waking, by: Way, now: Instant) -> String {
    let telling = waking.poll(now).expect("something to tell");
    assert_eq!(telling.by, by);
    waking.handle(by, Outcome::Free, now);
    telling.notice.text
}

#[test]
fn a_message_is_told_at_once_and_counts_when_it_is_told() {
    let now = Instant::now();
    let mut waking = claude();
    assert_eq!((waking.reach(), waking.poll(now)), ("wakes", None));
    waking.add_message(&pushed(1, "one"), Instant::now());
    let telling = waking.poll(now).unwrap();
    assert_eq!((telling.by, telling.notice.id), (Way::InboxSocket, 1));
    assert!(telling.notice.text.ends_with("\"one\""));
    // Until that is through, the others come together.
    waking.add_message(&pushed(2, "two"), Instant::now());
    waking.add_message(&pushed(3, "three"), Instant::now());
    assert_eq!(waking.poll(now), None);
    waking.handle(Way::InboxSocket, Outcome::Free, now);
    let text = told(&mut waking, Way::InboxSocket, now);
    assert!(text.contains("2 notices") && text.contains("two") && text.contains("three"));
    assert_eq!(waking.poll(now), None);
    assert_eq!(waking.records.take(false, true, now), None, "nothing is certain yet");
    waking.handle(Way::InboxSocket, Outcome::Sent(1), now);
    waking.handle(Way::InboxSocket, Outcome::Sent(1), now);
    waking.handle(Way::InboxSocket, Outcome::Sent(77), now);
    assert_eq!(waking.records.take(false, true, now), Some((Way::InboxSocket, vec![id(1)])));
}

#[test]
fn broadcasts_and_events_are_put_together_and_alerts_are_not() {
    let now = Instant::now();
    let mut waking = claude();
    waking.add_message(&broadcast(1), Instant::now());
    assert!(told(&mut waking, Way::InboxSocket, now).contains("broadcast from bob (codex)"));
    waking.add_message(&broadcast(2), Instant::now());
    waking.add_event(&json!({"eventType": "a.b", "seq": 3, "data": {"x": 1}}), now);
    let due = now + WAKE_DIGEST_EVERY;
    assert_eq!((waking.poll(now), waking.deadline()), (None, Some(due)));
    let alert = PushedMessage { message_type: MessageKind::Alert, ..broadcast(4) };
    waking.add_message(&alert, Instant::now());
    assert!(told(&mut waking, Way::InboxSocket, now).contains("to all"));
    assert_eq!(waking.poll(due.checked_sub(Duration::from_millis(1)).unwrap()), None);
    let text = told(&mut waking, Way::InboxSocket, due);
    assert!(text.contains("broadcast from bob") && text.contains("event a.b"), "{text}");
    assert_eq!((waking.poll(due), waking.deadline()), (None, None));
}

#[test]
fn events_that_no_way_has_told_are_given_back() {
    let now = Instant::now();
    let event = |seq: u64| json!({"eventType": "a.b", "seq": seq});
    let mut waking = claude();
    assert!(waking.add_event(&event(1), now));
    waking.poll(now).unwrap();
    assert!(waking.add_event(&event(2), now));
    assert!(waking.take_untold().is_empty());
    waking.handle(Way::InboxSocket, Outcome::Failed("gone".into()), now);
    // What is told by the channel is seen, or is not.
    let later = now + WAKE_DIGEST_EVERY;
    while let Some(telling) = waking.poll(later) {
        assert_eq!(telling.by, Way::Channel);
    }
    let back = [1, 2].map(|seq| (Seq(seq), "a.b".into()));
    assert_eq!(waking.take_untold(), back);
    assert!(!waking.add_event(&event(3), now));
    assert!(waking.poll(later + WAKE_DIGEST_EVERY).is_some());
    assert!(waking.take_untold().is_empty(), "whoever was told no has it");
}

#[test]
fn what_the_agent_got_by_itself_is_not_told() {
    let now = Instant::now();
    let mut waking = claude();
    waking.add_message(&pushed(1, "one"), Instant::now());
    waking.add_message(&pushed(2, "two"), Instant::now());
    waking.add_message(&broadcast(3), Instant::now());
    waking.forget(&[id(1), id(3)]);
    assert!(told(&mut waking, Way::InboxSocket, now).contains("\"two\""));
    assert_eq!(waking.poll(now), None);
    // Read before it was certain that it was told: it need not be told again.
    waking.forget(&[id(2)]);
    waking.handle(Way::InboxSocket, Outcome::Lost, now);
    assert_eq!(waking.poll(now), None);
}

#[test]
fn a_way_that_fails_is_followed_by_the_next() {
    let now = Instant::now();
    let mut waking = claude();
    waking.introduce();
    waking.add_message(&pushed(1, "one"), Instant::now());
    assert!(waking.poll(now).is_some());
    waking.add_message(&pushed(2, "two"), Instant::now());
    waking.handle(Way::InboxSocket, Outcome::Failed("no".into()), now);
    assert!(waking.has_changed());
    assert_eq!(waking.introduce(), ("next-call", None));
    assert!(!waking.has_changed());
    let telling = waking.poll(now).unwrap();
    assert_eq!(telling.by, Way::Channel);
    assert!(telling.notice.text.contains("one") && telling.notice.text.contains("two"));
    assert_eq!(waking.poll(now), None);
    waking.handle(Way::InboxSocket, Outcome::Sent(1), now);
    assert_eq!(waking.records.take(false, true, now), None, "nobody knows of a channel");

    // Without the channel there is only the notice.
    waking.meet(CLAUDE_CODE, false);
    waking.add_message(&pushed(3, "three"), Instant::now());
    assert_eq!(waking.poll(now), None);
    waking.meet(CLAUDE_CODE, true);
    assert_eq!(waking.poll(now), None, "it is not kept");
}

#[test]
fn a_connection_that_was_lost_is_made_up_for() {
    let now = Instant::now();
    let mut waking = claude();
    waking.add_message(&pushed(1, "one"), Instant::now());
    told(&mut waking, Way::InboxSocket, now);
    waking.add_message(&pushed(2, "two"), Instant::now());
    told(&mut waking, Way::InboxSocket, now);
    waking.handle(Way::InboxSocket, Outcome::Sent(1), now);
    waking.handle(Way::InboxSocket, Outcome::Lost, now);
    let text = told(&mut waking, Way::InboxSocket, now);
    assert!(text.ends_with("\"two\"") && !text.contains("one"), "{text}");
}

#[test]
fn a_socket_of_another_agent_is_left_alone() {
    for agent in ["codex", "gemini-cli", "unknown"] {
        let mut waking = Waking::new(Some("claude-code"));
        waking.meet(agent, false);
        waking.add_message(&pushed(1, "one"), Instant::now());
        assert_eq!((waking.reach(), waking.poll(Instant::now())), ("next-call", None), "{agent}");
        assert!(!waking.has_inbox_socket());
    }
}

#[test]
fn codex_is_told_once_its_thread_is_known() {
    let now = Instant::now();
    let mut waking = Waking::new(None);
    waking.meet(CODEX, false);
    assert_eq!((waking.reach(), waking.take_thread()), ("next-call", None));
    let mut waking = codex();
    assert_eq!(waking.take_thread().as_deref(), Some("t-1"));
    assert_eq!(waking.take_thread(), None);
    assert_eq!(waking.introduce(), ("wakes", Some("t-1".into())));
    waking.add_message(&pushed(1, "one"), Instant::now());
    let telling = waking.poll(now).unwrap();
    assert_eq!(telling.by, Way::Queue);
    waking.handle(Way::Queue, Outcome::Failed("no".into()), now);
    assert_eq!((waking.reach(), waking.has_changed()), ("next-call", true));
    waking.identify("t-1".into());
    assert_eq!(waking.take_thread(), None, "it has failed");
    waking.identify("t-2".into());
    assert_eq!(waking.take_thread().as_deref(), Some("t-2"));
    assert_eq!(waking.introduce(), ("wakes", Some("t-2".into())));
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
        json!(null),
    ] {
        assert_eq!(codex_thread(&bad), None, "{bad}");
    }
}

#[test]
fn there_is_an_end_to_what_waits() {
    let now = Instant::now();
    let mut waking = codex();
    waking.take_thread();
    waking.add_message(&pushed(0, "first"), Instant::now());
    assert!(waking.poll(now).is_some());
    for n in 1..2_000 {
        waking.add_message(&pushed(n, "x"), Instant::now());
        waking.add_message(&broadcast(10_000 + n), Instant::now());
    }
    assert_eq!(waking.urgent.len() + waking.digest.len() + 1, WAKE_ITEMS_MAX);
    waking.handle(Way::Queue, Outcome::Sent(1), now);
    waking.handle(Way::Queue, Outcome::Free, now);
    let text = told(&mut waking, Way::Queue, now);
    assert!(text.contains("more by mesh_inbox"), "{text}");
    waking.handle(Way::Queue, Outcome::Sent(2), now);
    let (_, ids) = waking.records.take(false, false, now + RECORD_DELAY).unwrap();
    assert!(ids.len() < 200, "only those that it was shown: {}", ids.len());
    waking.reset();
    assert_eq!(waking.poll(now + WAKE_DIGEST_EVERY), None);
}

#[test]
fn what_has_waited_is_looked_up_before_it_is_told() {
    let now = Instant::now();
    let due = now + WAKE_DIGEST_EVERY;
    let mut waking = claude();
    let add = |waking: &mut Waking, n: u64, now: Instant| waking.add_message(&broadcast(n), now);
    add(&mut waking, 1, now);
    assert!(!waking.wants_check(now), "it has just come");
    told(&mut waking, Way::InboxSocket, now);
    for n in 2..5 {
        add(&mut waking, n, now);
    }
    waking.add_event(&json!({"eventType": "a.b", "data": "an event"}), now);
    assert!(!waking.wants_check(now), "it is not due");
    assert!(waking.wants_check(due) && !waking.wants_check(due));
    assert_eq!((waking.poll(due), waking.deadline()), (None, None));
    // It came while the answer was on its way, which does not know it.
    add(&mut waking, 5, due + Duration::from_millis(1));
    waking.checked(Some(&[id(3)]), true);
    let telling = waking.poll(due).unwrap();
    let text = telling.notice.text;
    assert!(text.contains("3 notices") && text.contains("an event"), "{text}");
    waking.handle(Way::InboxSocket, Outcome::Sent(telling.notice.id), due);
    waking.handle(Way::InboxSocket, Outcome::Free, due);
    assert_eq!(waking.records.take(false, true, due).unwrap().1, [id(3), id(5)]);

    // Of a list that is not whole only its part is known; without one, nothing.
    let later = due + WAKE_DIGEST_EVERY;
    for (list, is_all, left) in
        [(Some(&[id(6), id(8)][..]), false, 3), (None, false, 4), (Some(&[][..]), true, 0)]
    {
        let mut waking = claude();
        waking.digest_at = Some(later);
        for n in 6..10 {
            add(&mut waking, n, now);
        }
        assert!(waking.wants_check(later));
        waking.checked(list, is_all);
        let shown = waking.poll(later).map(|telling| telling.notice.text);
        let expected = (left > 0).then(|| format!("slm-mesh: {left} notices"));
        assert_eq!(shown.is_some(), expected.is_some());
        assert!(shown.unwrap_or_default().starts_with(&expected.unwrap_or_default()));
    }
}
