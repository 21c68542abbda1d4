
"use strict";
// What others wrote gets into the page by `textContent` only, see `el`.

const $ = (id) => document.getElementById(id);
const KEPT_MESSAGES = 2000, SHOWN_MESSAGES = 400, SHOWN_EVENTS = 300, HELD_SECONDS = 50;

// The token: out of the address bar, and kept for this tab.

const STORED = "slm-mesh-token";
if (/^#[0-9a-f]{64}$/.test(location.hash)) {
  sessionStorage.setItem(STORED, location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}
const token = sessionStorage.getItem(STORED);
// A further `slm-mesh web`, in the same tab.
addEventListener("hashchange", () => location.reload());

// Asking

class Refused extends Error {
  constructor(answer, status) {
    super(answer.error || `the broker answers ${status}`);
    Object.assign(this, { code: answer.code, status, retryAfterMs: answer.retryAfterMs });
  }
}

async function ask(path, body) {
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: { Authorization: `Bearer ${token}` },
    body: body && JSON.stringify(body),
    cache: "no-store", credentials: "omit", redirect: "error",
  });
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer, response.status);
  return answer;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// What is known

let peers = [], locks = [], state = [], status = null;
const messages = new Map(), events = [], names = new Map();
/** The thread that is open, by its key, and the message that is answered. */
let open = null, answered = null, found = null;
/** Where older messages begin; none: there are no more. */
let older = null;
/** How many messages are kept at most, but for the open thread. */
let room = KEPT_MESSAGES;
/** Where the newest messages begin, which are asked for again and again. */
let newest = 0;
/** How many unread messages have not been fetched. */
let furtherUnread = 0;
/** Older messages of which something has changed. */
const reread = new Set();

const nameOf = (id) => (id === "cli" ? "you" : names.get(id) || id || "?");
const isId = (text) => /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(text);
const now = () => Date.now();

// Elements

/** Characters that would reorder or hide what stands around them are shown as a mark. */
const clean = (text) => String(text).replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

function el(tag, name, ...inside) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  for (const part of inside) {
    if (part === null || part === undefined || part === false || part === "") continue;
    made.append(part instanceof Node ? part : document.createTextNode(clean(part)));
  }
  return made;
}

function button(text, label, act, name = "") {
  const made = el("button", name, text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", clean(label));
  made.onclick = act;
  return made;
}

/** Makes `list` show `items`, each by an element that stays as long as nothing of it changes, so that
 *  focus, selection and places of scrolling stay, too. */
function sync(list, items, key, make, print = JSON.stringify) {
  const focused = document.activeElement;
  const within = list.contains(focused) && focused.closest("li");
  const place = within && { key: within.dataset.key, row: [...list.children].indexOf(within), at: [...within.querySelectorAll("button")].indexOf(focused) };
  const before = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const first = !before.size, stays = new Set(items.map((item) => String(key(item))));
  // What has gone goes first: else what follows it would be moved, and lose what is selected in it.
  for (const [id, child] of before) if (!stays.has(id)) child.remove();
  let at = list.firstElementChild;
  for (const item of items) {
    const id = String(key(item)), mark = print(item);
    let child = before.get(id);
    before.delete(id);
    if (!child || child.mark !== mark) {
      const made = make(item);
      made.dataset.key = id;
      made.mark = mark;
      if (child) {
        if (at === child) at = made;
        child.replaceWith(made);
      } else if (!first) made.classList.add("new");
      child = made;
    }
    if (child === at) at = at.nextElementSibling;
    else list.insertBefore(child, at);
  }
  if (place && document.activeElement !== focused) {
    // The same item, or what stands in its place now; of an empty list, its title.
    const rows = [...list.children];
    const again = rows.find((child) => child.dataset.key === place.key) || rows[Math.min(place.row, rows.length - 1)];
    const all = again ? [...again.querySelectorAll("button")] : [];
    const target = all[Math.max(0, Math.min(place.at, all.length - 1))] || list.closest("section").querySelector("h2");
    if (target.tagName === "H2") target.tabIndex = -1;
    target.focus({ preventScroll: true });
  }
}

function fill(section, items, key, make, count = items.length) {
  const box = $(section);
  sync(box.querySelector(".list"), items, key, make);
  box.querySelector(".empty").hidden = items.length > 0;
  const counted = box.querySelector(".count");
  if (counted) counted.textContent = count || "";
}

// Times

function age(time) {
  const minutes = Math.floor((now() - Date.parse(time)) / 60000);
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  return minutes < 1440 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} d`;
}

function left(time) {
  const seconds = Math.max(0, Math.ceil((Date.parse(time) - now()) / 1000));
  if (seconds > 5400) return `${Math.round(seconds / 3600)} h`;
  if (seconds > 120) return `${Math.ceil(seconds / 60)} min`;
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

const TIMES = { age, left };

function time(at, kind = "age") {
  const made = el("time", "age", TIMES[kind](at));
  made.dateTime = at;
  made.dataset.is = kind;
  made.title = new Date(at).toLocaleString();
  return made;
}

let ticking;
/** Writes times anew when the next of them changes: each second only where seconds are shown. */
function tick() {
  clearTimeout(ticking);
  if (document.hidden) return;
  let seconds = false;
  for (const shown of document.querySelectorAll("time")) {
    const text = TIMES[shown.dataset.is](shown.dateTime);
    if (shown.textContent !== text) shown.textContent = text;
    seconds ||= shown.dataset.is === "left" && text.includes(":") && text !== "0:00";
  }
  ticking = setTimeout(tick, seconds ? 1000 - (now() % 1000) : 20000);
}

// Peers

const REACH = {
  wakes: "is woken at once", push: "is told at once", "next-turn": "is told in its next turn",
  "next-call": "is told at its next call", held: "is told when its user allows it", none: "sees it when it looks",
};
const reach = (peer) => (peer.status === "away" ? "is told when it is back" : REACH[peer.reach] || peer.reach);

function showPeers() {
  fill("peers", peers, (peer) => peer.id, (peer) => {
    const how = { active: "good", stale: "warn", away: "warn" }[peer.status] || "bad";
    const place = [peer.host && `${peer.host}:`, peer.projectPath, peer.gitBranch && ` (${peer.gitBranch})`].filter(Boolean).join("");
    const facts = [peer.status !== "active" && peer.status, reach(peer), peer.locks && `${peer.locks} locked`, peer.unread && `${peer.unread} unread`];
    return el("li", "",
      el("div", "line", el("span", `dot ${how}`), el("span", "name grow cut", peer.name), el("span", "dim", peer.agentType),
        button("Write", `Write to ${peer.name}`, () => write(peer.name), "small")),
      peer.summary && el("div", "", peer.summary),
      el("div", "dim mono", ...place.split(/(?<=\/)/).flatMap((part) => [part, el("wbr")])),
      el("div", "dim", facts.filter(Boolean).join(" · ")));
  });
  sync($("names"), [...peers.map((peer) => peer.name), "all"], String, (name) => {
    const made = el("option");
    made.value = name;
    return made;
  });
}

// Locks

/** A path, which breaks behind its slashes; its end tells it apart. */
function path(text) {
  const at = text.replace(/\/(\*\*)?$/, "").lastIndexOf("/") + 1;
  const parts = text.slice(0, at).split(/(?<=\/)/).flatMap((part) => [part, el("wbr")]);
  return el("span", "mono", el("span", "dim", ...parts), el("span", "name", text.slice(at)));
}

/** The files of a lock, as they are named in a request. */
const files = (lock) => ({ filePath: lock.filePath, exact: !lock.pattern && !lock.repoId && !lock.repoHash, repoId: lock.repoId, repoHash: lock.repoHash });

/** Whether a request can mean the files of this lock: a path without a repository is one of this machine. */
const isInReach = (lock) => !!(lock.repoId || lock.repoHash) || !lock.host || lock.host === status?.host;

function showLocks() {
  const rows = locks.map((lock) => ({ ...lock, inReach: isInReach(lock) }));
  fill("locks", rows, (lock) => `${lock.fence} ${lock.filePath}`, (lock) => {
    const mine = lock.lockedBy === "cli";
    const facts = [lock.host, lock.shared && "shared", lock.reason];
    const unlock = () => request("/lock", { action: "unlock", ...files(lock), ...(mine ? { peerId: "cli" } : { force: true }) }, `${lock.filePath} is free`);
    const steal = (reason) => request("/lock", { action: "lock", peerId: "cli", ...files(lock), steal: true, reason }, `${lock.filePath} is yours`);
    const free = () => sure(`Release ${lock.filePath}?`, `${lock.lockedByName} holds it, and is not asked.`, "Release", null, unlock);
    const take = () => sure(`Take ${lock.filePath}?`, `${lock.lockedByName} holds it, and is told why you take it.`, "Steal", "", steal);
    return el("li", "",
      el("div", "line", el("span", "grow", path(lock.filePath)), time(lock.expiresAt, "left")),
      el("div", "line",
        el("span", "grow", el("span", "name", mine ? "you" : lock.lockedByName), el("span", "dim", ` ${facts.filter(Boolean).join(" · ")}`),
          lock.waiting > 0 && el("span", "warn", lock.waiting === 1 ? " 1 waits" : ` ${lock.waiting} wait`)),
        lock.inReach && button("Release", `Release ${lock.filePath}`, mine ? unlock : free, "small"),
        lock.inReach && !mine && button("Steal", `Steal ${lock.filePath}`, take, "small")));
  });
  tick();
}

/** Asks before something is done; with a `reason`, for that, too. */
function sure(title, about, yes, reason, act) {
  const dialog = $("ask");
  $("ask-title").textContent = clean(title);
  $("ask-about").textContent = clean(about);
  $("ask-yes").textContent = yes;
  $("ask-reason").hidden = reason === null;
  $("reason").value = reason || "";
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue === "yes") act($("reason").value.trim() || "taken by the person");
  };
  $("ask-no").onclick = () => dialog.close();
  dialog.showModal();
}

/** Does something, and says what came of it. */
async function request(to, body, done) {
  try {
    const answer = await ask(to, body);
    notice("");
    say(done);
    return answer;
  } catch (error) {
    fail(error);
    notice(error.message);
  } finally {
    want("locks", "peers", "messages");
  }
}

// State

function showState() {
  const rows = state.map((entry) => ({ ...entry, by: nameOf(entry.updatedBy) }));
  fill("state", rows, (entry) => `${entry.namespace} ${entry.key}`, (entry) =>
    el("li", "",
      el("div", "line", el("span", "grow mono", el("span", "dim", entry.namespace === "default" ? "" : `${entry.namespace} / `), el("span", "name", entry.key)), time(entry.updatedAt)),
      el("div", "mono value", entry.value),
      el("div", "dim", `by ${entry.by}`, entry.expiresAt && " · ends in ", entry.expiresAt && time(entry.expiresAt, "left"))));
}

// Events

function sentence(event) {
  let it = {};
  try { it = JSON.parse(event.payload) || {}; } catch { /* told as it is */ }
  const by = event.emittedBy ? nameOf(event.emittedBy) : "the mesh";
  const holder = it.lockedBy === "cli" ? "you" : it.lockedByName;
  const some = (ids = []) => (ids.length === 1 ? "a message" : `${ids.length} messages`);
  switch (event.type) {
    case "peer_joined": return `${it.name} came (${it.agentType})`;
    case "peer_left": return { clean_exit: `${it.name} left`, crashed: `${it.name} is gone: its process has ended`, timeout: `${it.name} is gone: it was not heard of any more` }[it.reason] || `${it.name} left (${it.reason})`;
    case "mesh.peer_renamed": return `${it.formerName} is called ${it.name} from now on`;
    case "state_changed": return it.deleted ? (event.emittedBy ? `${by} deleted ${it.key}` : `${it.key} has expired`) : `${by} set ${it.key} to ${it.value}`;
    case "file_locked": return `${holder} locked ${it.filePath}${it.reason ? `: ${it.reason}` : ""}`;
    case "file_unlocked": return {
      released: `${holder} released ${it.filePath}`, expired: `the lock on ${it.filePath} has expired`, peer_left: `${it.filePath} is free: ${holder} has left`,
      forced: `${it.filePath} was freed by force`, stolen: `${it.byName === "cli" ? "you" : it.byName} took ${it.filePath} from ${holder}${it.why ? `: ${it.why}` : ""}`,
    }[it.reason] || `${it.filePath} is free`;
    case "message_received": return `${nameOf(it.fromPeer)} wrote to ${it.toGroup || (it.toPeer ? nameOf(it.toPeer) : "all")}`;
    case "message_read": return `${nameOf(it.readBy)} read ${some(it.messageIds)} from ${nameOf(it.fromPeer)}`;
    case "message_undeliverable": return `nobody will read ${some(it.messageIds)} from ${nameOf(it.fromPeer)} to ${nameOf(it.toPeer)}`;
    case "mesh.conversation_damped": return `what ${it.fromName || "everybody"} writes to ${it.toName} is told together for a while`;
    default: return `${by}: ${event.type}${event.payload === "null" ? "" : ` ${event.payload}`}`;
  }
}

function showEvents() {
  const shown = events.slice(-SHOWN_EVENTS).reverse().map((event) => ({ event, text: sentence(event) }));
  fill("events", shown, (row) => row.event.id + row.event.seq, ({ event, text }) =>
    el("li", "", time(event.createdAt), el("span", "text", text.length > 300 ? `${text.slice(0, 300)}…` : text)));
}

// Conversations

const toOf = (message) => message.toGroup || (message.toPeer === null ? "all" : message.toPeer);
const shownTo = (message) => message.toGroup || (message.toPeer === null ? "all" : message.toPeer === "cli" ? "you" : message.toName || nameOf(message.toPeer));
const shownFrom = (message) => (message.fromPeer === "cli" ? "you" : message.fromName || nameOf(message.fromPeer));
const isGroup = (message) => message.toPeer === null;
const isUnread = (message) => message.toPeer === "cli" && !message.readAt;

/** The thread of a message: what two write to each other, or what was written to several with the
 *  answers to it. */
function threadOf(message, depth = 0) {
  const own = isGroup(message) ? message.id : [message.fromPeer, toOf(message)].sort().join(" ");
  const parent = depth < 200 && message.replyTo && messages.get(message.replyTo);
  if (!parent) return own;
  const above = threadOf(parent, depth + 1);
  return above === own || messages.has(above) || isGroup(message) ? above : own;
}

function threads() {
  const all = new Map();
  for (const message of [...messages.values()].sort((a, b) => a.seq - b.seq)) {
    const key = threadOf(message);
    if (!all.has(key)) all.set(key, { key, list: [] });
    all.get(key).list.push(message);
  }
  return [...all.values()].sort((a, b) => b.list.at(-1).seq - a.list.at(-1).seq);
}

function titleOf({ list }) {
  const root = list[0];
  if (isGroup(root)) return `${shownFrom(root)} to ${shownTo(root)}`;
  const pair = [shownFrom(root), shownTo(root)];
  // Named from where you stand.
  return pair.includes("you") ? pair.find((name) => name !== "you") || "you" : pair.join(" and ");
}

function showThreads() {
  const all = threads();
  const unread = [...messages.values()].filter(isUnread).length + furtherUnread;
  document.title = unread ? `(${unread}) slm-mesh` : "slm-mesh";
  const rows = found
    ? found.map((message) => ({ key: message.id, open: message, title: `${shownFrom(message)} to ${shownTo(message)}`, text: message.payload, at: message.createdAt }))
    : all.map((thread) => {
        const last = thread.list.at(-1);
        return {
          key: thread.key, title: titleOf(thread), at: last.createdAt, count: thread.list.length,
          text: `${shownFrom(last)}: ${last.payload}`, unread: thread.list.filter(isUnread).length, current: thread.key === open,
        };
      });
  fill("threads", rows, (row) => row.key, (row) => {
    const made = button("", null, () => (row.open ? openMessage(row.open) : openThread(row.key)));
    made.append(
      el("span", "line", el("span", "name grow cut", row.title), row.count > 1 && el("span", "dim", row.count), row.unread > 0 && el("span", "badge", `${row.unread} new`), time(row.at)),
      el("span", "line", el("span", "dim cut", row.text.slice(0, 200).replace(/\s+/g, " "))));
    if (row.current) made.setAttribute("aria-current", "true");
    return el("li", "", made);
  }, found ? "" : all.length);
  $("older").hidden = !!found || older === null;
  showThread(all);
}

const STEPS = { queued: 0, undeliverable: 0, delivered: 1, sent: 1, notified: 2, read: 3 };
const WORDS = { queued: "waits", undeliverable: "nobody will read it", delivered: "delivered", sent: "in its queue", notified: "told", read: "read" };

function stage(message) {
  let steps, words;
  if (message.recipients !== undefined) {
    const { recipients, readCount = 0, notifiedCount = 0, deliveredCount = 0 } = message;
    const reached = (count) => recipients > 0 && count >= recipients;
    steps = reached(readCount) ? 3 : reached(notifiedCount) ? 2 : reached(deliveredCount) ? 1 : 0;
    words = recipients ? `${readCount} of ${recipients} read` : "to nobody";
  } else {
    steps = STEPS[message.stage] ?? 0;
    words = WORDS[message.stage] || message.stage || "";
  }
  const meter = el("span", "stage");
  meter.setAttribute("aria-hidden", "true");
  for (let step = 1; step <= 3; step++) meter.append(el("i", step <= steps ? "on" : ""));
  return el("span", message.stage === "undeliverable" ? "bad" : "dim", meter, words, message.readAt && steps === 3 ? ` ${new Date(message.readAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}` : "");
}

function showThread(all = threads()) {
  const thread = all.find((one) => one.key === open);
  const list = $("thread").querySelector(".list");
  $("thread-title").textContent = thread ? clean(titleOf(thread)) : "Write a message";
  const down = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const shown = thread ? thread.list.slice(-SHOWN_MESSAGES) : [];
  let last = null;
  const rows = shown.map((message) => {
    const quoted = message.replyTo && message.replyTo !== last && messages.get(message.replyTo);
    last = message.id;
    return { message, quote: quoted ? `${shownFrom(quoted)}: ${quoted.payload.slice(0, 120)}` : null };
  });
  sync(list, rows, (row) => row.message.id, ({ message, quote }) => {
    const made = el("li", "",
      el("div", "line", el("span", "name", shownFrom(message)), el("span", "dim grow cut", `to ${shownTo(message)}`, message.type !== "text" && ` · ${message.type}`), el("span", "dim mono", message.handle), time(message.createdAt)),
      quote && el("div", "quote cut", quote),
      el("div", "text", message.payload),
      el("div", "acts", stage(message),
        button("Answer", `Answer ${shownFrom(message)}, ${message.handle}`, () => answer(message)),
        isUnread(message) && button("Mark read", `Mark ${message.handle} read`, () => markRead(message))));
    if (message.fromPeer === "cli") made.dataset.mine = "";
    made.dataset.kind = message.type;
    return made;
  });
  if (down) list.scrollTop = list.scrollHeight;
}

async function markRead(message) {
  const done = await request("/messages", { peerId: "cli", markRead: [message.id] }, "marked read");
  if (!done) return;
  isRead(message.id, new Date().toISOString());
  showThreads();
}

/** Takes down that a message to one was read: those below the newest are not asked for again. */
function isRead(id, readAt) {
  const message = messages.get(id);
  if (message && !message.readAt) messages.set(id, { ...message, readAt, stage: "read" });
}

/** What an event says of messages that are kept. */
function applyRead(event) {
  let it;
  try { it = JSON.parse(event.payload); } catch { return; }
  for (const id of it?.messageIds || []) {
    const message = messages.get(id);
    if (!message || message.seq >= newest) continue;
    if (event.type === "message_read" && !isGroup(message)) isRead(id, event.createdAt);
    else reread.add(id);
  }
}

function openThread(key) {
  open = key;
  const thread = threads().find((one) => one.key === key);
  const root = thread?.list[0];
  if (answered && threadOf(answered) !== key) setAnswer(null);
  if (root && !answered) {
    const other = root.fromPeer === "cli" ? root.toPeer : root.toPeer === "cli" ? root.fromPeer : null;
    $("to").value = isGroup(root) ? toOf(root) : other ? nameOf(other) : "";
  }
  view("thread");
  showThreads();
  // In a narrow window the list, and the focus in it, is not to be seen any more.
  if (!$("threads").checkVisibility()) $("thread-title").focus();
  const list = $("thread").querySelector(".list");
  list.scrollTop = list.scrollHeight;
}

/** Opens the thread of a message that a search has found. */
async function openMessage(message) {
  keep([message]);
  try { keep((await ask("/history", { message: message.id })).messages); } catch { /* it alone */ }
  openThread(threadOf(message));
  const item = [...$("thread").querySelectorAll("li")].find((one) => one.dataset.key === message.id);
  item?.scrollIntoView({ block: "center" });
  $("thread-title").focus();
}

function keep(list) {
  for (const message of list) {
    messages.set(message.id, message);
    if (isId(message.fromPeer) && message.fromName && !names.has(message.fromPeer)) names.set(message.fromPeer, message.fromName);
  }
}

// Writing

function setAnswer(message) {
  answered = message;
  $("answering").hidden = !message;
  $("answering").firstElementChild.textContent = message ? clean(`Answers ${shownFrom(message)} (${message.handle}): ${message.payload.slice(0, 80)}`) : "";
}

function answer(message) {
  setAnswer(message);
  $("to").value = message.fromPeer === "cli" ? (isGroup(message) ? toOf(message) : nameOf(message.toPeer)) : nameOf(message.fromPeer);
  $("compose").elements.text.focus();
}

function write(name) {
  setAnswer(null);
  const peer = peers.find((one) => one.name === name);
  const thread = peer && threads().find((one) => one.key === ["cli", peer.id].sort().join(" "));
  open = thread ? thread.key : null;
  view("thread");
  showThreads();
  $("to").value = name;
  $("compose").elements.text.focus();
}

/** The id of what is being sent: sent again, it is one message. */
let sending = null;
/** What was sent last, and the thread that was open then: its own is opened once it is there. */
let opening = null;

$("compose").onsubmit = async (event) => {
  event.preventDefault();
  const { to, kind, text, } = event.target.elements;
  const body = { fromPeer: "cli", toPeer: to.value.trim(), payload: text.value, type: kind.value, replyTo: answered?.id };
  const print = JSON.stringify(body);
  if (sending?.print !== print) sending = { print, id: crypto.randomUUID() };
  const result = $("sent");
  result.className = "";
  try {
    const sent = await ask("/send", { ...body, id: sending.id });
    sending = null;
    const peer = peers.find((one) => one.name === body.toPeer);
    result.textContent = clean(sent.queued ? `Sent. Nobody is called ${body.toPeer} now: it waits.`
      : sent.recipients !== undefined ? (sent.recipients ? `Sent to ${sent.recipients}.` : "Nobody is in that group: nothing was sent.")
      : peer ? `Sent. ${peer.name} ${reach(peer)}.` : "Sent.") + (sent.damped ? ` ${clean(sent.dampedReason || "")}` : "");
    // What was typed meanwhile is the next one's.
    if (text.value === body.payload) {
      text.value = "";
      kind.value = "text";
    }
    if (answered?.id === body.replyTo) setAnswer(null);
    opening = { id: sent.messageId || sent.messageIds?.[0], from: open };
    want("messages");
  } catch (error) {
    result.className = "bad";
    result.textContent = clean(error instanceof Refused ? error.message : "The broker could not be reached: nothing is known to be sent. Send it again.");
    fail(error);
  }
};
$("compose").elements.text.onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("compose").requestSubmit();
};
$("no-answer").onclick = () => setAnswer(null);

// Searching

let searching = 0;
async function search() {
  const mine = ++searching, text = $("search").elements.text.value.trim();
  if (!text) {
    found = null;
    $("found").hidden = true;
    return showThreads();
  }
  const list = [];
  let before;
  try {
    // A request looks at a part of all messages.
    for (let part = 0; part < 8 && list.length < 100; part++) {
      const page = await ask("/history", { text, limit: 100, before });
      if (mine !== searching) return;
      list.push(...page.messages.reverse());
      if (page.next === null) break;
      before = page.next;
    }
  } catch (error) {
    return fail(error);
  }
  found = list;
  $("found").hidden = false;
  $("found").textContent = list.length === 1 ? "1 message found" : `${list.length || "no"} messages found`;
  showThreads();
}
let typed;
$("search").oninput = () => {
  clearTimeout(typed);
  typed = setTimeout(search, 250);
};
$("search").onsubmit = (event) => {
  event.preventDefault();
  clearTimeout(typed);
  search();
};

$("older").onclick = async () => {
  try {
    const page = await ask("/history", { before: older, limit: 200 });
    older = page.next;
    room += page.messages.length;
    keep(page.messages);
    showThreads();
  } catch (error) {
    fail(error);
  }
};

// Keeping up

/** The newest messages, with how far each has come, and what is unread. */
async function load() {
  const first = !messages.size;
  let before;
  for (let part = 0; part < 10; part++) {
    const page = await ask("/history", { limit: 200, before });
    const joins = page.messages.some((message) => messages.has(message.id));
    if (part === 0) newest = page.messages[0]?.seq ?? 0;
    // Where it does not reach what is known, the rest is among the older ones.
    if (first || (!joins && (part === 9 || page.next === null))) older = page.next;
    const fresh = page.messages.filter((message) => isUnread(message) && !messages.has(message.id));
    keep(page.messages);
    if (fresh.length && !first) say(`${shownFrom(fresh.at(-1))} wrote to you`);
    if (first || joins || page.next === null) break;
    before = page.next;
  }
  await loadUnread();
  for (const id of [...reread].slice(0, 5)) {
    reread.delete(id);
    if (messages.has(id)) keep((await ask("/history", { message: id })).messages);
  }
  prune();
  const sent = opening && messages.get(opening.id);
  if (sent) {
    const stayed = open === opening.from;
    opening = null;
    if (stayed) open = threadOf(sent);
    showThreads();
    const list = $("thread").querySelector(".list");
    if (stayed) list.scrollTop = list.scrollHeight;
  } else showThreads();
}

async function loadUnread() {
  const list = await ask("/messages", { peerId: "cli", peek: true, limit: 200 });
  furtherUnread = 0;
  const ids = new Set(list.messages.map((message) => message.id));
  keep(list.messages.filter((message) => !messages.has(message.id)));
  if (list.remaining) {
    const known = [...messages.values()].filter((message) => isUnread(message) && !ids.has(message.id)).length;
    furtherUnread = Math.max(0, list.remaining - known);
  } else {
    const at = new Date().toISOString();
    for (const message of messages.values()) if (isUnread(message) && !ids.has(message.id)) isRead(message.id, at);
  }
}

/** Forgets the oldest messages, but for those of the open thread. */
function prune() {
  if (messages.size <= room) return;
  const list = [...messages.values()].sort((a, b) => a.seq - b.seq);
  const kept = new Set(threads().find((thread) => thread.key === open)?.list);
  const from = list[list.length - room].seq;
  for (const message of list) if (message.seq < from && !kept.has(message) && !isUnread(message)) messages.delete(message.id);
  older = from;
}

async function loadNames() {
  const ids = new Set();
  const see = (id) => isId(id || "") && !names.has(id) && ids.add(id);
  for (const event of events.slice(-SHOWN_EVENTS)) {
    see(event.emittedBy);
    try {
      const { fromPeer, toPeer, readBy } = JSON.parse(event.payload) || {};
      [fromPeer, toPeer, readBy].forEach(see);
    } catch { /* no names in it */ }
  }
  for (const entry of state) see(entry.updatedBy);
  if (!ids.size) return;
  const list = [...ids].slice(0, 1000);
  const answer = await ask("/peers", { scope: "mesh", ids: list });
  for (const id of list) names.set(id, id.slice(0, 8));
  for (const peer of answer.peers) names.set(peer.id, peer.name);
}

const LOADS = {
  peers: async () => {
    peers = (await ask("/peers", { scope: "mesh", includeStale: true, unread: true })).peers.filter((peer) => peer.status !== "left");
    for (const peer of peers) names.set(peer.id, peer.name);
    // What changes with each heartbeat is not shown.
    for (const peer of peers) delete peer.lastHeartbeat;
    showPeers();
  },
  locks: async () => {
    locks = (await ask("/lock", { action: "query" })).locks;
    showLocks();
  },
  state: async () => {
    state = (await ask("/state", { action: "list", allNamespaces: true })).entries;
    showState();
  },
  messages: load,
  counts: async () => {
    status = await ask("/status");
    // Which machine this is tells which locks can be released and stolen here.
    showLocks();
    const many = (number, one, more = `${one}s`) => `${number} ${number === 1 ? one : more}`;
    $("counts").textContent = [many(status.peers.total, "peer"), many(status.locks.active, "lock"), `${status.messages.unread} unread`, status.role !== "broker" && status.role].filter(Boolean).join(" · ");
  },
};

const wanted = new Set();
let settling = false, notBefore = 0, gap = 0, background = null;

function want(...what) {
  for (const one of what) wanted.add(one);
  settle();
}

/** Looks at what has changed: one thing after the other, and under constant traffic every 2.5 s, since
 *  the command line shares the number of requests that a person may make. */
async function settle() {
  if (settling || over) return;
  if (document.hidden) return settleHidden();
  settling = true;
  let what = [];
  try {
    while (wanted.size && !document.hidden && !over) {
      gap = now() - notBefore > 5000 ? 1000 : Math.min(2500, gap + 300);
      await pause(Math.max(60, notBefore - now()));
      notBefore = now() + gap;
      what = [...wanted];
      wanted.clear();
      for (const one of what) await LOADS[one]();
      await loadNames();
      if (what.includes("state")) showState();
      showEvents();
      if (what.includes("messages")) lookAgain();
    }
  } catch (error) {
    fail(error);
    // Too fast, or the broker has gone for now.
    for (const one of what) wanted.add(one);
    const rest = error.retryAfterMs || 3000;
    notBefore = now() + rest;
    setTimeout(settle, rest);
  } finally {
    settling = false;
  }
}

/** In the background only messages are looked at, slowly: the title says how many are unread. */
function settleHidden() {
  if (background || !wanted.has("messages")) return;
  background = setTimeout(async () => {
    background = null;
    if (settling || over || !wanted.delete("messages")) return;
    try {
      await load();
    } catch (error) {
      fail(error);
      wanted.add("messages");
    }
    settle();
  }, 10000);
}

/** That a message was delivered or told is no event: after one was written it is looked again, a few
 *  times. */
let looks = 0, looking;
function lookAgain() {
  const fresh = (message) => message.stage && STEPS[message.stage] < 3 && now() - Date.parse(message.createdAt) < 60000;
  if (looks <= 0 || looking || ![...messages.values()].some(fresh)) return;
  looks--;
  looking = setTimeout(() => {
    looking = null;
    want("messages");
  }, 2500);
}

function changed(type) {
  if (type === "mesh.peer_renamed") return Object.keys(LOADS);
  if (type.startsWith("peer_")) return ["peers", "locks", "counts"];
  if (type.startsWith("file_")) return ["locks", "peers", "counts"];
  if (type === "state_changed") return ["state"];
  if (type.startsWith("message_")) return ["messages", "peers", "counts"];
  return [];
}

let over = false;

function link(is, text) {
  $("link").dataset.is = is;
  if ($("link").textContent !== text) $("link").textContent = text;
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = clean(text || "");
}

function say(text) {
  $("said").textContent = clean(text);
}

/** Says what is to be known of an error. */
function fail(error) {
  if (error.status === 401) {
    over = true;
    link("over", "ended");
    notice("The key of this page has ended: the broker was started anew, or `slm-mesh web` was run again. Run it for a new one.");
  }
}

async function follow() {
  let cursor = null, tries = 0, held = false;
  while (!over) {
    try {
      let read;
      if (cursor === null) {
        read = await ask("/events", { action: "read", limit: SHOWN_EVENTS });
        events.length = 0;
        messages.clear();
        want(...Object.keys(LOADS));
      } else {
        // After a failure it is not held: it is to be seen at once whether the broker answers again.
        read = await ask("/events", { action: "read", after: cursor, wait: held ? HELD_SECONDS : undefined, limit: 1000 });
        // What else has happened meanwhile nobody has told.
        if (tries) want(...Object.keys(LOADS));
      }
      const begins = cursor === null, was = held;
      cursor = read.lastSeq;
      held = true;
      link("live", "live");
      if (tries) notice("");
      tries = 0;
      if (!read.events.length) {
        // Nothing has happened; but of what an agent says of itself, and of those who wait, there are no events.
        if (was) want("peers", "locks", "counts");
        continue;
      }
      events.push(...read.events);
      events.splice(0, events.length - SHOWN_EVENTS);
      showEvents();
      if (begins) continue;
      for (const event of read.events) if (/^message_(read|undeliverable)$/.test(event.type)) applyRead(event);
      if (read.events.some((event) => event.type === "message_received")) looks = 4;
      want(...new Set(read.events.flatMap((event) => changed(event.type))));
      await pause(1000);
    } catch (error) {
      fail(error);
      if (over) return;
      if (error.status === 400 && cursor !== null) {
        // Another database, which has not come so far.
        cursor = null;
        continue;
      }
      tries++;
      held = false;
      link("gone", error instanceof Refused ? "waiting" : "no broker");
      notice(error instanceof Refused ? error.message : "The broker does not answer. If it was started anew, run `slm-mesh web` again.");
      await pause(error.retryAfterMs || Math.min(10000, 500 * 2 ** tries));
    }
  }
}

// Moving around

function view(name) {
  document.body.dataset.view = name;
  const pressed = name === "thread" ? "threads" : name;
  for (const one of document.querySelectorAll("nav button")) one.setAttribute("aria-pressed", String(one.dataset.view === pressed));
}
for (const one of document.querySelectorAll("nav button")) one.onclick = () => view(one.dataset.view);
$("back").onclick = () => {
  view("threads");
  ($("threads").querySelector("[aria-current]") || $("search").elements.text).focus();
};
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault();
  view("thread");
  $("thread-title").focus();
};
document.onkeydown = (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    view("threads");
    $("search").elements.text.focus();
  }
  const list = event.target.closest?.("#threads .list");
  if (list && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    const all = [...list.querySelectorAll("button")];
    all[all.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
  }
};
document.onvisibilitychange = () => {
  if (document.hidden) return;
  tick();
  settle();
};

if (token) follow();
else {
  link("over", "no key");
  notice("This address has no key in it. Run `slm-mesh web`: it opens the page with one.");
}
tick();
