//! The page in a real browser: what it shows and does, by the keyboard too, and that it keeps up without
//! asking again and again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::broker::{Broker, Setup};
use crate::common::browser::Browser;
use crate::common::peer::Peer;
use crate::common::{eventually, wait_until};

/// What would become elements and run, if it were not taken as text.
const ATTACK: &str = "<img src=x onerror=\"window.hit=1\"><script>window.hit=1</script>\u{202e}";

/// How long the page's request is held at least, when nothing happens.
const HELD: Duration = Duration::from_secs(45);
/// How long a page that keeps up by a held request is watched for others.
const WATCHED: Duration = Duration::from_secs(3);

/// A broker whose peers stay, however long the browser takes.
fn start() -> Broker {
    Setup::new().with("SLM_MESH_STALE_MS", "3600000").with("SLM_MESH_DEAD_MS", "7200000").start()
}

/// A page of the broker with a key to it.
fn open(broker: &Broker) -> Option<Browser> {
    let mut browser = Browser::start(broker.setup.mesh())?;
    browser.open(&address(broker));
    browser.until("$('link').dataset.is === 'live'");
    Some(browser)
}

fn address(broker: &Broker) -> String {
    let opened = broker.ok("/page", &json!({}));
    format!("http://127.0.0.1:{}/#{}", broker.port, opened["token"].as_str().unwrap())
}

/// Whether a part of the page shows a text.
fn shows(part: &str, text: &str) -> String {
    format!("document.querySelector('{part}').textContent.includes({})", json!(text))
}

/// Brings the focus to an element, as somebody would who goes there by the keyboard, and presses Enter.
fn enter(browser: &mut Browser, selector: &str) {
    browser.until(&format!("document.querySelector('{selector}')"));
    browser.eval(&format!("document.querySelector('{selector}').focus()"));
    browser.press("Enter", 13);
}

/// How often a page has asked for events.
fn asked(browser: &Browser) -> usize {
    browser.requests.iter().filter(|url| url.ends_with("/events")).count()
}

/// Waits until a page has asked for events so often.
fn until_asked(browser: &mut Browser, times: usize) {
    wait_until("it asks for events", || {
        // What it has asked comes with the answer.
        browser.eval("0");
        asked(browser) >= times
    });
}

fn inbox(peer: &Peer, broker: &Broker) -> Vec<Value> {
    let list = peer.ok(broker, "/messages", &json!({"peek": true}));
    list["messages"].as_array().unwrap().clone()
}

#[test]
fn the_page_shows_what_there_is_and_what_comes() {
    let broker = start();
    let bob = broker.register("bob");
    bob.ok(&broker, "/summary", &json!({"summary": ATTACK}));
    bob.send(&broker, "cli", ATTACK);
    bob.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/src/a.rs", "reason": ATTACK}));
    let set = json!({"action": "set", "key": ATTACK, "value": ATTACK, "namespace": ATTACK});
    bob.ok(&broker, "/state", &set);
    bob.ok(&broker, "/events", &json!({"action": "emit", "type": "a.b", "payload": ATTACK}));
    let Some(mut browser) = open(&broker) else { return };
    browser.until(&shows("#peers", "bob"));
    browser.until(&shows("#locks", "a.rs"));
    browser.until(&shows("#locks time", " min"));
    enter(&mut browser, "#threads .list button");
    for part in ["#peers", "#locks", "#thread", "#state", "#events"] {
        browser.until(&shows(
            part,
            "<img src=x onerror=\"window.hit=1\"><script>window.hit=1</script>\u{fffd}",
        ));
    }
    // All of it is text.
    let elements = "document.querySelectorAll('img, main script').length";
    assert_eq!(browser.eval(elements), 0);
    assert_eq!(browser.eval("typeof window.hit"), "undefined");
    assert_eq!(browser.eval("document.title"), "(1) slm-mesh");
    // The key is nowhere to be seen.
    assert_eq!(browser.eval("location.hash"), "");

    // What comes is there by itself.
    let carol = broker.register("carol");
    browser.until(&shows("#peers", "carol"));
    browser.until(&shows("#events", "carol came"));
    carol.send(&broker, "bob", "are you there?");
    browser.until(&shows("#threads", "are you there?"));
    bob.ok(&broker, "/lock", &json!({"action": "unlock", "filePath": "/src/a.rs"}));
    browser.until("!$('locks').querySelector('li')");
    // How far a message has come, too.
    enter(&mut browser, "#threads .list button");
    browser.until(&shows("#thread", "are you there?"));
    bob.ok(&broker, "/messages", &json!({}));
    browser.until(&shows("#thread .list", "read"));
    carol.ok(&broker, "/unregister", &json!({}));
    browser.until(&format!("!{}", shows("#peers", "carol")));
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn the_page_sends_answers_releases_and_steals() {
    let broker = start();
    let bob = broker.register("bob");
    let Some(mut browser) = open(&broker) else { return };
    browser.until(&shows("#peers", "bob"));

    enter(&mut browser, "#peers button");
    browser.until("document.activeElement.name === 'text'");
    browser.type_text("do you have a minute?");
    enter(&mut browser, "#compose button.main");
    let first = eventually("it is there", || inbox(&bob, &broker).pop());
    assert_eq!(
        (&first["payload"], &first["fromPeer"]),
        (&json!("do you have a minute?"), &json!("cli"))
    );
    browser.until(&shows("#thread .list", "do you have a minute?"));
    assert_eq!(browser.eval("$('compose').elements.text.value"), "");

    let answer = json!({"toPeer": "cli", "payload": "yes", "replyTo": first["id"]});
    let sent = bob.ok(&broker, "/send", &answer);
    let handle = sent["handle"].as_str().unwrap();
    browser.until(&shows("#thread .list", "yes"));
    browser.until("document.title.startsWith('(1)')");
    enter(&mut browser, &format!("#thread button[aria-label=\"Answer bob, {handle}\"]"));
    browser.until("!$('answering').hidden && document.activeElement.name === 'text'");
    browser.type_text("good");
    enter(&mut browser, "#compose button.main");
    let second = eventually("the answer is there", || inbox(&bob, &broker).into_iter().nth(1));
    assert_eq!((&second["payload"], &second["replyTo"]), (&json!("good"), &sent["messageId"]));
    enter(&mut browser, &format!("#thread button[aria-label=\"Mark {handle} read\"]"));
    browser.until("document.title === 'slm-mesh'");

    let lock = json!({"action": "lock", "filePath": "/src/[a]*.rs", "exact": true});
    bob.ok(&broker, "/lock", &lock);
    enter(&mut browser, "#locks button[aria-label^=\"Steal\"]");
    browser.until("$('ask').open && document.activeElement === $('reason')");
    browser.type_text("it is urgent");
    browser.press("Enter", 13);
    let locks = || broker.ok("/lock", &json!({"action": "query"}))["locks"].clone();
    let stolen =
        eventually("it is stolen", || Some(locks()).filter(|all| all[0]["lockedBy"] == "cli"));
    assert_eq!(stolen[0]["reason"], "it is urgent");
    browser.until(&shows("#locks", "you"));
    enter(&mut browser, "#locks button[aria-label^=\"Release\"]");
    eventually("it is free", || locks().as_array().is_some_and(Vec::is_empty).then_some(()));

    browser.until("!locks.length");

    // Someone else's, with the person's last word; a word that is not given changes nothing.
    bob.ok(&broker, "/lock", &lock);
    browser.until(&shows("#locks", "bob"));
    enter(&mut browser, "#locks button[aria-label^=\"Release\"]");
    browser.until("$('ask').open");
    enter(&mut browser, "#ask-no");
    browser.until("!$('ask').open");
    assert_eq!(locks().as_array().unwrap().len(), 1);
    enter(&mut browser, "#locks button[aria-label^=\"Release\"]");
    browser.until("$('ask').open");
    enter(&mut browser, "#ask-yes");
    eventually("it is free", || locks().as_array().is_some_and(Vec::is_empty).then_some(()));
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn the_page_finds_messages_and_keeps_the_focus() {
    let broker = start();
    let (bob, carol) = (broker.register("bob"), broker.register("carol"));
    bob.send(&broker, "carol", "the needle is here");
    carol.send(&broker, "all", "hay");
    let Some(mut browser) = open(&broker) else { return };
    browser.until("$('threads').querySelectorAll('li').length === 2");
    browser.press("/", 191);
    browser.until("document.activeElement.type === 'search'");
    browser.type_text("NEEDLE");
    browser.until(&shows("#found", "1 message found"));
    enter(&mut browser, "#threads .list button");
    browser.until(&shows("#thread .list", "the needle is here"));

    // The list is written anew under a focus that stays where it is.
    browser.eval("$('search').elements.text.value = ''; search()");
    browser.until("$('threads').querySelectorAll('li').length === 2");
    browser.eval("[...$('threads').querySelectorAll('.list button')].at(-1).focus()");
    let key = browser.eval("document.activeElement.closest('li').dataset.key");
    bob.send(&broker, "carol", "and a second one");
    browser.until(&shows("#threads", "and a second one"));
    assert_eq!(browser.eval("document.activeElement.closest('li').dataset.key"), key);
    // Everything can be reached, and is called something.
    let nameless = "[...document.querySelectorAll('button, input, select, textarea')].filter((one) => \
                    one.checkVisibility() && !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).length";
    assert_eq!(browser.eval(nameless), 0);
    assert_eq!(browser.eval("document.querySelectorAll('main, header, nav').length"), 3);
    // Narrow, it shows one part at a time, and nothing stands out at the side, however long.
    let long = "x".repeat(300);
    bob.ok(&broker, "/summary", &json!({"summary": long}));
    bob.ok(&broker, "/rename", &json!({"name": "n".repeat(64)}));
    let lock = json!({"action": "lock", "filePath": format!("/{}/{}", &long[..200], &long[..200])});
    bob.ok(&broker, "/lock", &lock);
    bob.ok(&broker, "/state", &json!({"action": "set", "key": &long[..200], "value": long}));
    bob.send(&broker, "cli", &long);
    browser.until("locks.length && state.length && peers.some((peer) => peer.name.length === 64)");
    browser.until(&shows("#threads", &long[..100]));
    browser.eval(&format!("notice({})", json!(long)));
    browser.resize(360, 740);
    for part in ["peers", "locks", "state", "events", "threads", "thread"] {
        if part == "thread" {
            enter(&mut browser, "#threads .list button");
            // The focus does not stay in what is hidden.
            browser.until("document.activeElement.checkVisibility() && document.activeElement !== document.body");
        } else {
            enter(&mut browser, &format!("nav button[data-view={part}]"));
        }
        browser.until(&format!("$('{part}').checkVisibility()"));
        let others = "[...document.querySelectorAll('main > section')].filter((one) => one.checkVisibility()).length";
        assert_eq!(browser.eval(others), 1, "{part}");
        let wide = format!(
            "[$('{part}'), $('{part}').querySelector('.list'), $('notice'), document.documentElement]\
             .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.id || one.tagName).join()"
        );
        assert_eq!(browser.eval(&wide), "", "{part}");
    }
}

#[test]
fn a_page_that_keeps_up_asks_once() {
    let broker = start();
    let bob = broker.register("bob");
    let Some(mut browser) = open(&broker) else { return };
    browser.until(&shows("#peers", "bob"));
    until_asked(&mut browser, 2);
    for round in 0.. {
        // An event, after which the request is held anew.
        let begun = Instant::now();
        let asked = asked(&browser);
        let value = format!("round {round}");
        bob.ok(&broker, "/state", &json!({"action": "set", "key": "k", "value": value}));
        browser.until(&shows("#state", &value));
        until_asked(&mut browser, asked + 1);
        browser.until("wanted.size === 0 && !settling && !looking");
        let before = browser.requests.clone();
        std::thread::sleep(WATCHED);
        browser.eval("0");
        // On a machine so busy that the time of the request is over, it is to be tried again.
        if begun.elapsed() < HELD {
            assert_eq!(browser.requests, before, "nothing has happened, and it has asked");
            break;
        }
    }
    // And yet it is told.
    bob.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/a"}));
    browser.until(&shows("#locks", "/a"));

    // It says that its key has ended, and asks no more.
    broker.ok("/page", &json!({}));
    bob.ok(&broker, "/lock", &json!({"action": "unlock", "filePath": "/a"}));
    browser.until(&shows("#notice", "has ended"));
    // Further addresses, in the same tab, have a further key.
    browser
        .eval(&format!("location.hash = {}", json!(address(&broker).split('#').nth(1).unwrap())));
    browser.until("document.getElementById('link')?.dataset.is === 'live'");
    browser.until(&shows("#peers", "bob"));
}

#[cfg(feature = "lan")]
#[test]
fn locks_of_other_machines_are_only_shown() {
    let (hub, at) = crate::relays::hub();
    let relay = crate::relays::relay(at);
    for (broker, name, path) in [(&hub, "there", "/there"), (&relay, "here", "/here")] {
        let lock = json!({"action": "lock", "filePath": path});
        broker.register(name).ok(broker, "/lock", &lock);
    }
    for (broker, path) in [(&hub, "/there"), (&relay, "/here")] {
        let Some(mut browser) = open(broker) else { return };
        browser.until("status && $('locks').querySelectorAll('li').length === 2");
        let buttons = "[...$('locks').querySelectorAll('button')].map((one) => one.ariaLabel)";
        browser.until(&format!("{buttons}.length === 2"));
        assert_eq!(
            browser.eval(buttons),
            json!([format!("Release {path}"), format!("Steal {path}")])
        );
    }
}

#[test]
fn a_page_tells_that_the_broker_is_away_until_it_answers() {
    let broker = start();
    let bob = broker.register("bob");
    let Some(mut browser) = open(&broker) else { return };
    browser.until(&shows("#peers", "bob"));
    browser.eval(
        "window.real = fetch; window.tried = 0; window.said = []; \
         fetch = () => { tried++; return Promise.reject(new TypeError('away')); }; \
         new MutationObserver(() => said.push($('link').dataset.is))\
         .observe($('link'), {attributes: true, attributeFilter: ['data-is']}); 0",
    );
    // The request that is held gets its answer; those that follow get none.
    bob.ok(&broker, "/state", &json!({"action": "set", "key": "k", "value": "v"}));
    browser.until("$('link').dataset.is === 'gone' && !$('notice').hidden");
    browser.until("tried >= 4");
    assert_eq!(browser.eval("said.includes('live', said.indexOf('gone'))"), false);
    bob.ok(&broker, "/lock", &json!({"action": "lock", "filePath": "/meanwhile"}));
    bob.ok(&broker, "/rename", &json!({"name": "rob"}));
    browser.eval("fetch = real; 0");
    browser.until("$('link').dataset.is === 'live' && $('notice').hidden");
    browser.until(&shows("#locks", "meanwhile"));
    browser.until(&shows("#peers", "rob"));
    browser.until(&shows("#events", "bob is called rob from now on"));
    // A name is followed, too, while nothing else happens.
    bob.ok(&broker, "/rename", &json!({"name": "robert"}));
    browser.until(&shows("#peers", "robert"));
    browser.until(&shows("#state", "by robert"));
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn older_messages_are_counted_and_marked_read() {
    let broker = start();
    let (bob, carol) = (broker.register("bob"), broker.register("carol"));
    bob.send(&broker, "cli", "an old one");
    bob.send(&broker, "cli", "another old one");
    // More than what is asked for at a time.
    for number in 0..201 {
        // Within the number of requests that one may make.
        let sender = if number % 2 == 0 { &bob } else { &carol };
        let to = if number % 2 == 0 { "carol" } else { "bob" };
        eventually("it is taken", || {
            let message = json!({"toPeer": to, "payload": format!("number {number}")});
            Some(sender.call(&broker, "/send", &message)).filter(|answer| answer.status == 200)
        });
    }
    let Some(mut browser) = open(&broker) else { return };
    browser.until("document.title === '(2) slm-mesh'");
    browser.until("messages.size > 200");
    browser.eval("openThread([...messages.values()].find(isUnread) && threadOf([...messages.values()].find(isUnread)))");
    browser.until(&shows("#thread .list", "an old one"));
    enter(&mut browser, "#thread button[aria-label^=\"Mark\"]");
    browser.until("document.title === '(1) slm-mesh'");
    browser.until("$('thread').querySelectorAll('button[aria-label^=\"Mark\"]').length === 1");
    // What is read elsewhere, too.
    broker.ok("/messages", &json!({"peerId": "cli"}));
    browser.until("document.title === 'slm-mesh'");
    browser.until("!$('thread').querySelector('button[aria-label^=\"Mark\"]')");
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn another_origin_gets_nothing_and_can_show_nothing() {
    let broker = start();
    let Some(mut browser) = Browser::start(broker.setup.mesh()) else { return };
    let (port, token) = (broker.port, &broker.token);
    // A document of another origin that has no policy of its own.
    browser.open(&format!("http://localhost:{port}/health"));
    let asked = format!(
        "fetch('http://127.0.0.1:{port}/status', {{headers: {{Authorization: 'Bearer {token}'}}}})\
         .then(() => 'an answer', () => 'nothing')"
    );
    assert_eq!(browser.eval(&asked), "nothing");
    let simple = format!(
        "fetch('http://127.0.0.1:{port}/').then((got) => got.type + got.status, () => 'nothing')"
    );
    // The page itself is for anyone who comes from nowhere, but for no other origin.
    assert_eq!(browser.eval(&simple), "nothing");
    let framed = format!(
        "new Promise((done) => {{ const frame = document.createElement('iframe'); \
         frame.onload = () => done(String(frame.contentDocument === null)); \
         frame.src = 'http://localhost:{port}/'; document.body.append(frame); }})"
    );
    // Of its own origin, even: a frame that is refused is a document of nobody's.
    assert_eq!(browser.eval(&framed), "true");
}
