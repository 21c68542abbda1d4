use std::time::Duration;

use super::*;
use crate::lan::discovery::{Candidate, Tag};
use crate::model::MachineName;

const ID: MachineId = MachineId([1; 32]);

fn at(ms: u64) -> Monotonic {
    Monotonic(Duration::from_secs(100).saturating_add(Duration::from_millis(ms)))
}

fn place(text: &str) -> HubAddress {
    HubAddress::parse(text).unwrap()
}

fn places(texts: &[&str]) -> Vec<HubAddress> {
    texts.iter().map(|text| place(text)).collect()
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A plan to reach the hub [`ID`] at these places.
fn plan(texts: &[&str], discovery: bool) -> Plan {
    Plan::new(Some(ID), places(texts), discovery)
}

fn acts(plan: &mut Plan) -> Vec<Act> {
    std::iter::from_fn(|| plan.next_act()).collect()
}

fn connect(id: u64, text: &str) -> Act {
    Act::Connect(id, socket(text))
}

fn words(acts: &[Act]) -> &Failure {
    match acts.last() {
        Some(Act::GiveUp(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// Of a hub that is heard under this name at this address.
fn heard(name: &str, id: MachineId, address: &str) -> Heard {
    let candidate = Candidate {
        name: MachineName::new(name).unwrap(),
        addresses: vec![socket(address)],
        tag: Tag::new(&id, [7; 16]),
    };
    Heard::Here(name.into(), candidate)
}

#[test]
fn addresses_race_and_one_at_a_time_has_its_handshake() {
    let mut plan = plan(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], false);
    plan.begin(at(0));
    assert_eq!(acts(&mut plan), [connect(1, "10.0.0.1:7900")]);
    let lead = at(0).plus(HUB_CONNECT_LEAD);
    assert_eq!(plan.next_deadline(), Some(lead));
    plan.tick(lead);
    assert_eq!(acts(&mut plan), [connect(2, "10.0.0.2:7900")]);
    plan.connected(2, lead);
    assert_eq!(acts(&mut plan), [Act::Shake(2)]);
    // As long as it has, no other is begun, and one that is there waits.
    plan.connected(1, lead);
    plan.tick(lead.plus(HUB_CONNECT_LEAD * 2));
    assert_eq!(acts(&mut plan), []);
    plan.failed(2, "another hub answers", false, at(900));
    assert_eq!(acts(&mut plan), [Act::Shake(1)]);
    let way = plan.opened(1, ID).unwrap();
    assert_eq!(way, Way { at: socket("10.0.0.1:7900"), place: Some(place("10.0.0.1")) });
    assert_eq!((acts(&mut plan), plan.next_deadline()), (vec![], None));
}

#[test]
fn one_that_fails_at_once_leaves_its_lead_to_the_next_and_goes_behind() {
    let mut plan = plan(&["10.0.0.1", "10.0.0.2"], false);
    plan.begin(at(0));
    acts(&mut plan);
    plan.failed(1, "refused", false, at(0));
    assert_eq!(acts(&mut plan), [connect(2, "10.0.0.2:7900")]);
    plan.connected(2, at(1));
    acts(&mut plan);
    plan.opened(2, ID).unwrap();
    plan.prefer(place("10.0.0.2"));
    plan.begin(at(1000));
    assert_eq!(acts(&mut plan), [connect(3, "10.0.0.2:7900")]);
}

#[test]
fn what_accepts_and_says_nothing_is_left_for_the_next() {
    let mut plan = plan(&["10.0.0.1", "10.0.0.2"], false);
    plan.begin(at(0));
    plan.connected(1, at(0));
    acts(&mut plan);
    let over = at(0).plus(HUB_HANDSHAKE_TIME_MAX);
    assert_eq!(plan.next_deadline(), Some(over));
    plan.tick(over);
    assert_eq!(acts(&mut plan), [Act::Drop(1), connect(2, "10.0.0.2:7900")]);
    plan.failed(2, "refused", false, over);
    let acts = acts(&mut plan);
    let Failure { words, refused } = words(&acts);
    assert!(!refused && words.contains("10.0.0.1:7900: something accepts"), "{words}");
    assert!(words.contains("10.0.0.2:7900: refused"), "{words}");
}

#[test]
fn names_are_looked_up_once_at_a_time_and_what_is_found_is_tried() {
    let mut plan = plan(&["box.example", "10.0.0.2"], false);
    plan.begin(at(0));
    let box_ = place("box.example");
    assert_eq!(acts(&mut plan), [Act::Resolve(box_.clone()), connect(1, "10.0.0.2:7900")]);
    plan.failed(1, "refused", false, at(1));
    assert_eq!(acts(&mut plan), [], "the name is not known yet");
    // All of it takes too long; the thread is still there, and no second one is begun.
    plan.tick(at(0).plus(HUB_TRY_TIME_MAX));
    words(&acts(&mut plan));
    plan.begin(at(20_000));
    let of_try = acts(&mut plan);
    assert!(!of_try.contains(&Act::Resolve(box_.clone())), "{of_try:?}");
    plan.resolved(&box_, Ok(vec![socket("10.9.9.9:7900")]), at(20_001));
    plan.failed(2, "refused", false, at(20_002));
    assert_eq!(acts(&mut plan), [connect(3, "10.9.9.9:7900")]);
    plan.connected(3, at(20_003));
    assert_eq!(plan.opened(3, ID).unwrap().place, Some(box_.clone()));
    plan.begin(at(30_000));
    assert!(acts(&mut plan).contains(&Act::Resolve(box_)));
}

#[test]
fn a_no_of_the_hub_is_its_last_word() {
    let mut plan = plan(&["10.0.0.1", "10.0.0.2"], true);
    plan.begin(at(0));
    plan.connected(1, at(0));
    acts(&mut plan);
    plan.failed(1, "this machine was removed", true, at(1));
    let failure = Failure { words: "this machine was removed".into(), refused: true };
    assert_eq!(acts(&mut plan), [Act::GiveUp(failure)]);
    assert_eq!(plan.next_deadline(), None);
}

#[test]
fn a_no_of_one_that_may_be_another_hub_leaves_the_other_addresses() {
    let both = || Plan::new(None, places(&["10.0.0.1", "10.0.0.2"]), false);
    let no = |plan: &mut Plan, id| {
        plan.connected(id, at(1));
        plan.failed(id, "its secret is another", true, at(1));
        acts(plan)
    };
    let mut plan = both();
    plan.begin(at(0));
    acts(&mut plan);
    assert_eq!(no(&mut plan, 1).last(), Some(&connect(2, "10.0.0.2:7900")));
    // Both have said no, and would say it again.
    let all = no(&mut plan, 2);
    let failure = words(&all);
    assert!(failure.refused, "{failure:?}");
    let said = "10.0.0.1:7900: its secret is another; 10.0.0.2:7900: its secret is another";
    assert_eq!(&*failure.words, said);
    // One that does not answer may be the right one.
    plan.begin(at(1000));
    acts(&mut plan);
    no(&mut plan, 3);
    plan.failed(4, "no route", false, at(1001));
    assert!(!words(&acts(&mut plan)).refused);
    // There is but one address: its words are enough.
    let mut plan = Plan::new(None, places(&["10.0.0.1"]), false);
    plan.begin(at(0));
    acts(&mut plan);
    let failure = Failure { words: "its secret is another".into(), refused: true };
    assert_eq!(no(&mut plan, 1).last(), Some(&Act::GiveUp(failure)));
}

#[test]
fn the_known_hub_is_looked_for_where_its_addresses_do_not_answer() {
    let mut plan = plan(&["10.0.0.1"], true);
    plan.begin(at(0));
    acts(&mut plan);
    let late = at(0).plus(HUB_SEARCH_AFTER);
    plan.tick(late);
    assert_eq!(acts(&mut plan), [Act::Search]);
    plan.heard(heard("fake", MachineId([9; 32]), "10.6.6.6:7900"), late);
    assert_eq!(acts(&mut plan), [], "it is not the one that is looked for");
    plan.heard(heard("box", ID, "10.0.0.7:7900"), late);
    assert_eq!(acts(&mut plan), [connect(2, "10.0.0.7:7900")]);
    plan.connected(2, late);
    assert_eq!(acts(&mut plan), [Act::Shake(2)]);
    let way = plan.opened(2, ID).unwrap();
    assert_eq!((way.at, way.place), (socket("10.0.0.7:7900"), None));
    assert_eq!(acts(&mut plan), [Act::Drop(1), Act::EndSearch]);
    // Not again at once, and not at all where no packet may leave.
    plan.begin(late);
    acts(&mut plan);
    plan.failed(3, "refused", false, late);
    words(&acts(&mut plan));
    let mut silent = self::plan(&["10.0.0.1"], false);
    silent.begin(at(0));
    silent.failed(1, "refused", false, late);
    assert!(!acts(&mut silent).contains(&Act::Search));
}

#[test]
fn the_only_hub_there_is_is_taken_and_of_several_none() {
    let search = |hubs: &[(&str, &str)]| {
        let mut plan = Plan::new(None, Vec::new(), true);
        plan.begin(at(0));
        assert_eq!(acts(&mut plan), [Act::Search]);
        for (name, address) in hubs {
            plan.heard(heard(name, ID, address), at(1));
        }
        assert_eq!(acts(&mut plan), [], "more may be heard");
        let over = plan.next_deadline().unwrap();
        assert_eq!(over, at(0).plus(DISCOVERY_TIME));
        plan.tick(over);
        acts(&mut plan)
    };
    assert_eq!(search(&[("box", "10.0.0.7:7900")])[1..], [connect(1, "10.0.0.7:7900")]);
    let several = search(&[("box", "10.0.0.7:7900"), ("fake", "10.6.6.6:7900")]);
    let told = &words(&several).words;
    assert!(told.contains("box, fake") && told.contains(HOST), "{told}");
    assert!(words(&search(&[])).words.contains("no hub is seen"));
}

#[test]
fn a_try_that_is_forgotten_leaves_nothing_behind() {
    let mut plan = plan(&["10.0.0.1", "10.0.0.2"], true);
    plan.begin(at(0));
    plan.tick(at(0).plus(HUB_SEARCH_AFTER));
    acts(&mut plan);
    plan.end();
    assert_eq!(acts(&mut plan), [Act::Drop(1), Act::Drop(2), Act::EndSearch]);
    plan.connected(1, at(1));
    plan.failed(2, "late", false, at(1));
    plan.tick(at(9_000));
    assert_eq!((acts(&mut plan), plan.next_deadline()), (vec![], None));
}
