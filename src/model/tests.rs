use std::collections::BTreeSet;

use super::*;

#[test]
fn a_message_id_holds_its_sequence_number() {
    for n in [0, 1, 255, 65_536, (1 << 48) - 1] {
        let id = MessageId::new(Seq(n), [0xff; 16]);
        assert_eq!(id.seq(), Seq(n));
        assert_eq!(id.0.get_version_num(), 8);
        assert_eq!(MessageId::parse(&id.to_string()), Some(id));
    }
}

#[test]
fn times_are_written_with_milliseconds_and_read_with_any_offset() {
    let time = Timestamp(1_775_644_201_123);
    assert_eq!(time.to_string(), "2026-04-08T10:30:01.123Z");
    assert_eq!(Timestamp::parse("2026-04-08T12:30:01.123+02:00"), Some(time));
    assert_eq!(Timestamp::parse("yesterday"), None);
    assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    assert!(!Timestamp(i64::MAX).to_string().is_empty());
}

#[test]
fn only_hyphenated_uuids_are_ids() {
    let id = PeerId::from_random([7; 16]);
    assert_eq!(PeerId::parse(&id.to_string().to_uppercase()), Some(id));
    assert_eq!(PeerId::parse(&id.0.simple().to_string()), None);
    assert_eq!(Party::parse("cli"), Party::Cli);
    assert_eq!(Party::parse(&id.to_string()), Party::Peer(id));
    assert_eq!(Party::parse("build-bot"), Party::Label("build-bot".into()));
}

#[test]
fn each_word_is_read_back_and_is_the_one_on_the_wire() {
    for way in Way::ALL {
        assert_eq!(Way::parse(way.as_str()), Some(way));
        assert_eq!(serde_json::to_value(way).unwrap(), way.as_str());
        assert_eq!(serde_json::from_value::<Way>(way.as_str().into()).unwrap(), way);
    }
    assert_eq!(Way::parse("telepathy"), None);
    assert_eq!(
        (Way::parse("socket"), Way::parse("notice")),
        (Some(Way::InboxSocket), Some(Way::ToolResult))
    );
    assert_eq!(SentStatus::parse("denied"), Some(SentStatus::Declined));
    for how in How::ALL {
        assert_eq!(how.status().and_then(SentStatus::how), how.status().map(|_| how));
    }
    assert_eq!(SentStatus::Dropped.how(), None);
    let stages = [
        Stage::Queued,
        Stage::Delivered,
        Stage::Sent,
        Stage::Notified,
        Stage::Read,
        Stage::Undeliverable,
    ];
    for stage in stages {
        assert_eq!(serde_json::to_value(stage).unwrap(), stage.as_str());
    }
    assert!(stages.is_sorted(), "the ladder goes up");
}

/// The numbers at which a handle grows.
const FOUR: u64 = 22 * 32 * 32 * 32;
const FIVE: u64 = FOUR * 32;
const SIX: u64 = FIVE * 32;

#[test]
fn a_handle_gives_its_number_back() {
    let spread = |of: u64| (0..20_000).map(move |n| n * (of / 20_000) + n % 7);
    let edges = [FOUR, FIVE, SIX].into_iter().flat_map(|n| n - 2_000..n + 2_000);
    for n in (0..100_000).chain(spread(FOUR)).chain(spread(FIVE)).chain(spread(SIX)).chain(edges) {
        let handle = Handle::of(Seq(n));
        let text = handle.to_string();
        let length = if n < FOUR {
            4
        } else if n < FIVE {
            5
        } else {
            6
        };
        assert_eq!(text.len(), length, "{n}: {text}");
        assert!(text.starts_with(|c: char| c.is_ascii_lowercase()), "{n}: {text} may be a number");
        assert_eq!(Handle::parse(&text), Some(handle));
        assert_eq!(Handle::parse(&text.to_uppercase()), Some(handle));
        assert_eq!(handle.seq(Seq(n)), Some(Seq(n)), "{text}");
        // Only the longest are given again, and long after.
        assert_eq!(handle.seq(Seq(n + SIX / 2)), Some(Seq(n)), "{text}");
        assert_eq!(n.checked_sub(1).and_then(|last| handle.seq(Seq(last))), None, "{text}");
    }
    let far = Seq(7 * SIX + FIVE + 12_345);
    assert_eq!(Handle::of(far).seq(far), Some(far));
    assert_eq!(Handle::of(far).seq(Seq(far.0 + SIX)), Some(Seq(far.0 + SIX)));
}

#[test]
fn no_two_messages_in_a_row_have_handles_that_look_alike() {
    for start in [0, FOUR, FIVE, SIX] {
        let texts: Vec<_> =
            (start..start + 5_000).map(|n| Handle::of(Seq(n)).to_string()).collect();
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len());
        for pair in texts.windows(2) {
            let same = pair[0].bytes().zip(pair[1].bytes()).filter(|(a, b)| a == b).count();
            assert!(same + 2 < pair[0].len() && pair[0][..1] != pair[1][..1], "{pair:?}");
        }
    }
}

#[test]
fn what_is_no_handle_is_not_taken_for_one() {
    for text in ["", "k7q", "1234", "7k2q", "k7q2k7q", "k7ql", "k7-2", "k7q2 ", "kéq2", "uuuu"] {
        assert_eq!(Handle::parse(text), None, "{text}");
    }
    let id = MessageId::new(Seq(7), [3; 16]);
    assert_eq!(MessageRef::parse(&id.to_string()), Some(MessageRef::Id(id)));
    assert_eq!(MessageRef::parse(&id.handle().to_string()), Some(MessageRef::Handle(id.handle())));
    assert_eq!(MessageRef::parse("the last one"), None);
    assert_eq!(serde_json::to_value(id.handle()).unwrap(), id.handle().to_string());
}

#[test]
fn patterns_match_a_type_a_prefix_or_everything() {
    assert!(type_matches::<&str>(&[], "a.b"));
    assert!(type_matches(&["*"], "peer_left"));
    assert!(type_matches(&["build.*"], "build.done"));
    assert!(!type_matches(&["build.*"], "builder.done"));
    assert!(!type_matches(&["build"], "build.done"));
}
