use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

fn peer(n: u8) -> PeerId {
    PeerId::from_random([n; 16])
}

fn party(n: u8) -> Party {
    Party::Peer(peer(n))
}

/// One message of `from` wakes `to`, if it does now.
fn told(loops: &mut Loops, from: u8, to: u8, now: Monotonic) -> Option<Vec<Conversation>> {
    let (seq, from) = (Seq(1), party(from));
    if loops.wait_until((seq, &from), peer(to), now).is_some() {
        return None;
    }
    let begun = loops.woken(peer(to), std::iter::once((seq, &from)), now);
    loops.commit();
    loops.check();
    Some(begun)
}

#[test]
fn two_who_thank_each_other_are_slowed_down_and_not_stopped() {
    let mut loops = Loops::new(12);
    let (mut wakes, mut begun) = (Vec::new(), Vec::new());
    // Each answers as soon as it is woken, every five seconds, for two hours.
    let mut waiting = 1;
    for second in (0..7200).step_by(5) {
        let (from, to) = (waiting, 3 - waiting);
        if let Some(damped) = told(&mut loops, from, to, at(second)) {
            wakes.push(second);
            begun.extend(damped);
            loops.sent(&party(to), peer(from), at(second));
            waiting = to;
        }
    }
    assert_eq!(begun, [(peer(2), Some(party(1))), (peer(1), Some(party(2)))], "once each");
    let quick = wakes.iter().filter(|second| **second < 120).count();
    assert_eq!(quick, 24, "twelve in each direction");
    // After that one in each direction every two minutes.
    assert!(wakes.len() <= 24 + 2 * 7200 / 120, "{}", wakes.len());
    let gaps = wakes.iter().zip(wakes.iter().skip(2)).skip(24).map(|(a, b)| b - a);
    assert!(gaps.clone().all(|gap| gap >= 120), "{:?}", gaps.collect::<Vec<_>>());
    assert!(wakes.last().is_some_and(|last| *last > 7000), "and none is forgotten");
}

#[test]
fn a_conversation_at_a_human_pace_is_none_of_this() {
    let mut loops = Loops::new(12);
    // Eleven in each ten minutes, for a day.
    for n in 0..1500 {
        let begun = told(&mut loops, 1, 2, at(n * 55)).expect("never waits");
        assert!(begun.is_empty());
        assert_eq!(loops.sent(&party(1), peer(2), at(n * 55)), None);
    }
}

#[test]
fn the_limits_edges() {
    let limit = |seconds_between: u64| {
        let mut loops = Loops::new(3);
        (0..3)
            .map(|n| told(&mut loops, 1, 2, at(n * seconds_between)).unwrap().len())
            .sum::<usize>()
    };
    assert_eq!(limit(299), 1, "the third is within ten minutes of the first");
    assert_eq!(limit(300), 0, "the third is not");

    let mut loops = Loops::new(3);
    for second in 0..3 {
        told(&mut loops, 1, 2, at(second)).unwrap();
    }
    let wait = |loops: &Loops, second| loops.wait_until((Seq(1), &party(1)), peer(2), at(second));
    assert_eq!(wait(&loops, 2), Some(at(122)));
    assert_eq!(wait(&loops, 121), Some(at(122)));
    assert_eq!(wait(&loops, 122), None);
    // The other direction, and others, are not concerned.
    assert_eq!(loops.wait_until((Seq(1), &party(2)), peer(1), at(3)), None);
    assert_eq!(loops.wait_until((Seq(1), &party(3)), peer(2), at(3)), None);
    // Ten quiet minutes end it, and what is sent is no quiet.
    assert_eq!(loops.sent(&party(1), peer(2), at(601)), Some(Damped::Sender));
    assert_eq!(loops.sent(&party(1), peer(2), at(1200)), Some(Damped::Sender));
    assert_eq!(loops.damped(at(1799)).count(), 1);
    assert_eq!(loops.damped(at(1800)).count(), 0);
    assert_eq!(loops.sent(&party(1), peer(2), at(1800)), None);
    for second in 1800..1802 {
        assert_eq!(told(&mut loops, 1, 2, at(second)), Some(vec![]), "counted anew");
    }
    assert_eq!(told(&mut loops, 1, 2, at(1802)).unwrap().len(), 1, "and begun anew");
}

#[test]
fn a_ring_of_five_is_damped_by_what_each_is_woken_in_all() {
    let mut loops = Loops::new(12);
    // Each tells all the others: no pair comes to its limit before an agent comes to its own.
    let mut begun = Vec::new();
    for round in 0..10 {
        for from in 0..5_u8 {
            for step in 1..5 {
                begun.extend(
                    told(&mut loops, from, (from + step) % 5, at(round * 20 + u64::from(from)))
                        .unwrap_or_default(),
                );
            }
        }
    }
    assert_eq!(begun.len(), 5, "{begun:?}");
    assert!(begun.iter().all(|(_, from)| from.is_none()));
    let woken = loops.wakes.get(&(peer(0), None)).map(|wakes| wakes.at.len());
    assert_eq!(woken, Some(30));
    // One tells the next, round and round: each pair comes to its limit.
    let mut loops = Loops::new(12);
    let rounds = (0..40_u64).filter(|round| {
        (0..5).all(|from| told(&mut loops, from, (from + 1) % 5, at(*round)).is_some())
    });
    assert_eq!(rounds.count(), 12);
}

#[test]
fn a_storm_of_one_sender_is_one_wake_of_it_with_each_claim() {
    let mut loops = Loops::new(12);
    let many: Vec<(Seq, Party)> = (1..=500).map(|n| (Seq(n), party(1))).collect();
    let from = || many.iter().map(|(seq, from)| (*seq, from));
    for second in 0..11 {
        assert_eq!(loops.woken(peer(2), from(), at(second)), []);
    }
    assert_eq!(loops.woken(peer(2), from(), at(11)), [(peer(2), Some(party(1)))]);
    // 2,000 who are told by one sender: what is remembered stays bounded.
    for n in 0..10_000_u32 {
        let to = PeerId(uuid::Uuid::from_u128(u128::from(n % 2_000)));
        let from = Party::Label(format!("script-{n}").into());
        loops.woken(to, std::iter::once((Seq(1), &from)), at(20));
        loops.commit();
    }
    loops.check();
    loops.woken(peer(2), from(), at(620));
    assert_eq!(loops.wakes.len(), 2, "what is quiet is forgotten");
}

#[test]
fn a_person_ends_it_and_is_never_damped() {
    let mut loops = Loops::new(2);
    for second in 0..2 {
        told(&mut loops, 1, 2, at(second)).unwrap();
        told(&mut loops, 2, 1, at(second)).unwrap();
        told(&mut loops, 3, 4, at(second)).unwrap();
    }
    assert_eq!(loops.damped(at(2)).count(), 3);
    // To one of the two: both directions.
    assert_eq!(loops.sent(&Party::Cli, peer(2), at(2)), None);
    assert!(loops.wait_until((Seq(1), &party(1)), peer(2), at(2)).is_none());
    assert!(loops.wait_until((Seq(1), &party(2)), peer(1), at(2)).is_none());
    assert!(loops.wait_until((Seq(1), &party(3)), peer(4), at(2)).is_some(), "not others");
    loops.commit();
    for second in 3..100 {
        assert!(loops.wait_until((Seq(1), &Party::Cli), peer(4), at(second)).is_none());
        let cli = std::iter::once((Seq(1), &Party::Cli));
        assert_eq!(loops.woken(peer(4), cli, at(second)), [], "nor counted");
    }
}

#[test]
fn what_the_mesh_itself_writes_passes() {
    let mut loops = Loops::new(1);
    told(&mut loops, 1, 2, at(0)).unwrap();
    loops.alerted(Seq(7));
    assert!(loops.wait_until((Seq(6), &party(1)), peer(2), at(1)).is_some());
    assert!(loops.wait_until((Seq(7), &party(1)), peer(2), at(1)).is_none());
    let alert = party(5);
    assert_eq!(loops.woken(peer(6), std::iter::once((Seq(7), &alert)), at(1)), []);
    for n in 8..5_000 {
        loops.alerted(Seq(n));
    }
    loops.check();
}

#[test]
fn none_is_none_and_two_and_a_half_times_as_many_are_for_all_senders() {
    let mut off = Loops::new(0);
    for second in 0..500 {
        assert_eq!(told(&mut off, 1, 2, at(second)), Some(vec![]));
    }
    assert!(off.wakes.is_empty());
    for (limit, all) in [(1, 2), (2, 5), (12, 30), (WAKE_LIMIT_MAX, 500)] {
        assert_eq!(Loops::new(limit).limit(None), all);
    }
}

#[test]
fn a_turn_that_fails_has_woken_nobody() {
    let mut loops = Loops::new(2);
    told(&mut loops, 1, 2, at(0)).unwrap();
    let from = party(1);
    let wake = || std::iter::once((Seq(1), &from));
    assert_eq!(loops.woken(peer(2), wake(), at(1)).len(), 1);
    assert_eq!(loops.sent(&Party::Cli, peer(2), at(1)), None);
    loops.abort();
    assert_eq!(loops.damped(at(1)).count(), 0);
    assert_eq!(loops.woken(peer(2), wake(), at(1)).len(), 1, "said again");
    loops.commit();
    loops.abort();
    assert_eq!(loops.damped(at(1)).count(), 1);
    loops.forget(peer(2));
    assert!(loops.wakes.is_empty());
}

#[test]
fn the_sender_is_told_what_happens_until_when_and_how_to_change_it() {
    assert_eq!(
        reason(Damped::Sender, 12, "bob"),
        "you have woken bob 12 times within 10 minutes, so that your messages to it are stored and \
         told together, every 2 minutes, until none has come for 10 minutes; a message from the \
         command line ends that (SLM_MESH_WAKE_LIMIT sets how many wakes, 0 any number)"
    );
    assert!(reason(Damped::Everyone, 12, "bob").starts_with(
        "everybody together has woken bob 30 times within 10 minutes, so that what it is sent is "
    ));
    assert_eq!(WAKE_DAMPED_EVERY, 2 * MINUTE);
}
