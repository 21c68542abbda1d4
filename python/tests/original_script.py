"""A program written for the package of the same name that the field knows (PyPI, 1.2.3): all of its
calls, by position. It prints what they gave; ``test_original.py`` compares that with the other
package."""

import dataclasses
import json
import re
import sys

import slm_mesh
from slm_mesh import MessageStats, PeerStats
from slm_mesh.client import SLMMeshClient, SLMMeshError
from slm_mesh.types import BrokerStatus, Lock, MeshEvent, Message, Peer, StateEntry

#: The fields that programs know, in their order.
FIELDS = {
    Peer: "id name pid project_path git_root git_branch agent_type summary uds_path started_at "
    "last_heartbeat status",
    Message: "id from_peer to_peer msg_type payload created_at read_at delivered",
    StateEntry: "key value namespace updated_by updated_at",
    Lock: "file_path locked_by locked_at expires_at reason",
    MeshEvent: "id event_type payload emitted_by created_at",
    BrokerStatus: "status version uptime pid port peers messages locks_active events_total",
    PeerStats: "active stale total",
    MessageStats: "total undelivered",
}

seen: dict[str, str] = {}


def told(value: object) -> object:
    """What is the same for both packages: ids, tokens and times are numbered or left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = FIELDS[type(value)].split()
        first = [field.name for field in dataclasses.fields(value)][: len(names)]
        assert first == names, first
        return {type(value).__name__: {name: told(getattr(value, name)) for name in names}}
    if isinstance(value, dict):
        skipped = ("peerToken", "heartbeatMs", "mesh", "uptime")
        return {key: told(item) for key, item in value.items() if key not in skipped}
    if isinstance(value, (list, tuple)):
        return [told(item) for item in value]
    if isinstance(value, str):
        value = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", value)
        uuid = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
        return re.sub(uuid, lambda m: seen.setdefault(m[0], f"ID{len(seen)}"), value)
    return value


def say(what: str, value: object) -> None:
    print(what, type(value).__name__, json.dumps(told(value), sort_keys=True), flush=True)


port, file = int(sys.argv[1]), sys.argv[2]
client = slm_mesh.SLMMeshClient("127.0.0.1", port, 5)
assert isinstance(client, SLMMeshClient)
assert (client.host, client.port, client.timeout) == ("127.0.0.1", port, 5)
say("health", client.health())
alice = client.register(11, "/p/web", "claude-code", "alice", None)
bob = client.register(12, "/p/api", "codex")
again = client.register(13, "/p/web", "claude-code", "alice")
say("register", [alice, bob, again])
a, b = alice["peerId"], bob["peerId"]
say("set_summary", client.set_summary(a, "the parser"))
say("heartbeat", client.heartbeat(a))
peers = client.peers()
assert [peer.summary for peer in peers if peer.id == a] == ["the parser"]
say("peers", sorted(peers, key=lambda peer: peer.pid))
say("send", client.send(a, b, "hello", "alert"))
say("broadcast", client.broadcast(a, "to all", "text"))
say("inbox", client.inbox(b, "unread", 1))
say("the rest", client.inbox(b, "unread"))
say("all", [m.payload for m in client.inbox(b, "all", 20)])
say("state_set", client.state_set("k", "v", a, "build"))
say("state_set in the default", client.state_set("k", "w", a))
say("state_get", [client.state_get("k", "build"), client.state_get("k"), client.state_get("none")])
say("state_list", client.state_list("build"))
client.state_delete("k", "build")
say("state_list without it", client.state_list("build"))
say("lock", client.lock(file, a, "renaming", 5))
say("locks", [client.locks(), client.locks(file)])
for wrong in (lambda: client.lock(file, b), lambda: client.events(["a type"])):
    try:
        wrong()
    except SLMMeshError as error:
        say("refused", [str(error), error.status_code, error.response.get("code")])
client.unlock(file, a)
say("locks without it", client.locks())
say("events", client.events(["message", "lock"]))
say("events by type", client.events(["file_locked"], None, 1))
say("unregister", client.unregister(b))
status = client.status()
assert status.uptime >= 0 and status.pid > 0 and status.port == port
say("status", [status.status, status.version, status.peers, status.messages, status.locks_active])
try:
    SLMMeshClient("127.0.0.1", 1, 1).peers()
except SLMMeshError as error:
    say("unreachable", [error.status_code])
