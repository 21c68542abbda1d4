"""Sessions with threads, with a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

from slm_mesh import LockedError, NoBrokerError, Session, SLMMeshError
from slm_mesh import _core as core
from slm_mesh.models import Lock, Message
from support import PATIENCE, Background, MeshTest, binary, eventually


def take(session: Session, count: int) -> list[Message]:
    """The next so many messages."""
    found: list[Message] = []
    for message in session.listen(PATIENCE):
        found.append(message)
        if len(found) == count:
            return found
    raise AssertionError(f"{len(found)} of {count} messages came")


class Sessions(MeshTest):
    def test_two_sessions_exchange_messages(self) -> None:
        with Session(name="alice") as alice, Session(name="bob", summary="answers") as bob:
            self.assertEqual({peer.name for peer in alice.peers()}, {"alice", "bob"})
            self.assertEqual(len(os.listdir(self.mesh.dir / "peers")), 2)

            def answer() -> None:
                for message in bob.listen():
                    bob.send(message.from_peer, message.json() | {"n": 2}, reply_to=message.id)

            answering = Background(answer)
            sent = alice.send("bob", {"n": 1, "ü": "😀"})
            (reply,) = take(alice, 1)
            self.assertEqual(reply.json(), {"n": 2, "ü": "😀"})
            self.assertEqual((reply.reply_to, reply.from_name), (sent.message_id, "bob"))
            self.assertEqual((reply.to_peer, reply.type), (alice.peer_id, "json"))
            # It was acknowledged, looked at, and marked read.
            eventually("the mark", lambda: alice.inbox("sent")[0].read_at)
            bob_id = bob.peer_id
            assert bob_id is not None
            bob.close()
            answering.result()
            with self.refused("peer_not_found"):
                alice.send(bob_id, "still there?")
            self.assertFalse(alice.send("bob", "for the next bob").pushed)
        self.assertEqual(self.client().peers(include_stale=True), [])
        self.assertEqual(os.listdir(self.mesh.dir / "peers"), [])

    def test_messages_come_in_order_once_and_whole(self) -> None:
        with Session(name="bob") as bob:
            texts = [f"{number}" for number in range(600)]
            texts += ["x" * 65_536, "\x01" * 65_536, "ü€😀\u2028\n"] * 5
            client = self.client()
            sending = Background(lambda: [client.send("bob", text) for text in texts])
            self.assertEqual([message.payload for message in take(bob, len(texts))], texts)
            sending.result()
            self.assertIsNone(bob.receive(0.05))
            eventually("the marks", lambda: not bob.inbox(peek=True))

    def test_who_does_not_take_gets_all_later(self) -> None:
        with Session(name="bob") as bob:
            count = core.QUEUE_MAX + 200
            client = self.client()
            for number in range(count):
                client.send("bob", str(number))
            eventually("a full queue", lambda: len(bob._core.mailbox) >= core.QUEUE_MAX)
            self.assertLess(len(bob._core.mailbox), count)
            self.assertEqual(
                [message.payload for message in take(bob, count)],
                [str(number) for number in range(count)],
            )

    def test_what_was_not_handed_over_stays_unread(self) -> None:
        with Session(name="bob") as bob:
            for number in range(3):
                self.client().send("bob", str(number))
            for _ in bob.listen():
                break
            with self.assertRaises(ZeroDivisionError):
                for message in bob.listen(mark_read=False):
                    raise ZeroDivisionError(message.payload)
            eventually("the mark", lambda: len(bob.inbox(peek=True)) == 2)
            self.assertEqual([m.payload for m in bob.inbox(peek=True)], ["1", "2"])

    def test_a_loop_that_is_left_at_the_end_has_marked(self) -> None:
        with Session(name="bob") as bob:
            sent = self.client().send("bob", "last")
            listening = bob.listen()
            next(listening)
        (message,) = [m for m in self.client().inbox("sent") if m.id == sent.message_id]
        self.assertIsNotNone(message.read_at)

    def test_listening_ends_after_its_time_and_with_the_session(self) -> None:
        with Session() as bob:
            self.assertEqual(list(bob.listen(timeout=0.01)), [])
            self.assertEqual(list(bob.listen_events(timeout=0.01)), [])
            waiting = [Background(lambda: list(bob.listen())) for _ in range(2)]
            waiting.append(Background(lambda: list(bob.listen_events())))
        self.assertEqual([worker.result() for worker in waiting], [[], [], []])
        with self.refused("closed"):
            bob.status()
        bob.close()

    def test_a_session_speaks_for_itself_alone(self) -> None:
        with Session(name="bob") as bob:
            with self.refused("forbidden"):
                self.client().send("cli", "as bob", peer="bob")
            with self.refused("name_taken"), Session(name="bob"):
                pass
            with self.refused("invalid_request"):
                bob.register()
            with self.refused("invalid_request"):
                bob.open()
            self.assertEqual(bob.name, "bob")
        with Session(project_path=self.mesh.root) as nameless:
            self.assertTrue(nameless.name.endswith("-python"), nameless.name)

    def test_heartbeats_keep_it_active(self) -> None:
        self.mesh.kill()
        settings = {"HEARTBEAT": "50", "STALE": "400", "DEAD": "60000"}
        self.mesh.settings.update({f"SLM_MESH_{k}_MS": v for k, v in settings.items()})
        self.mesh.start()
        with Session(name="bob") as bob:
            (first,) = bob.peers()
            later = eventually(
                "a later heartbeat",
                lambda: [p for p in bob.peers() if p.last_heartbeat > first.last_heartbeat],
            )
            self.assertEqual(later[0].status, "active")

    def test_subscribed_events_are_pushed(self) -> None:
        with Session(name="bob") as bob:
            self.assertEqual(bob.subscribe(["build.*", "file_locked"]), ["build.*", "file_locked"])
            client = self.client()
            client.state_set("not", "subscribed")
            seq = client.emit("build.done", {"ok": True})
            with client.lock(self.mesh.root / "f"):
                events = bob.listen_events(PATIENCE)
                first, second = next(events), next(events)
            self.assertEqual(
                (first.type, first.seq, first.payload), ("build.done", seq, {"ok": True})
            )
            self.assertEqual(second.type, "file_locked")
            self.assertEqual(second.payload["filePath"], os.path.realpath(self.mesh.root / "f"))
            bob.unsubscribe()
            client.emit("build.done")
            self.assertEqual(list(bob.listen_events(0.05)), [])

    def test_locks_end_with_their_block_and_with_the_session(self) -> None:
        path = self.mesh.root / "file"
        with Session(name="alice") as alice, Session(name="bob") as bob:
            with alice.lock(path, reason="mine"), self.assertRaises(LockedError):
                bob.lock(path)
            with bob.lock(path) as outer:
                with bob.lock(path) as inner:
                    self.assertEqual(outer.fence, inner.fence)
                # The inner block has not released what the outer one holds.
                self.assertEqual(len(alice.locks(path)), 1)
            self.assertEqual(alice.locks(), [])
            bob.lock(path)
            bob.close()
            self.assertEqual(alice.locks(), [])

    def test_a_lock_is_renewed_in_its_block(self) -> None:
        with Session(name="alice") as alice, alice.lock(self.mesh.root / "f", ttl_minutes=1):
            (before,) = alice.locks()

            def renewed() -> list[Lock]:
                # Due, and again if it was renewed in the same millisecond.
                with alice._guard:
                    alice._core.holdings[0].renew_at = 0.0
                alice._wake()
                return [lock for lock in alice.locks() if lock.expires_at > before.expires_at]

            (after,) = eventually("a later end", renewed)
            self.assertEqual(before.fence, after.fence)

    def test_a_lock_that_was_lost_is_told_and_not_taken_again(self) -> None:
        path = self.mesh.root / "f"
        with Session(name="alice") as alice:
            lost = alice.lock(path)
            with self.refused("lock_lost"), lost:
                self.client().unlock(path, force=True)
                self.client().lock(path, peer="a-script")
                with alice._guard:
                    alice._core.holdings[0].renew_at = 0.0
                alice._wake()
                eventually("the loss", lambda: alice._core.holdings[0].lost)
            self.assertEqual(alice.locks()[0].locked_by, "a-script")

    def test_the_end_of_the_process_frees_its_locks(self) -> None:
        path = self.mesh.root / "f"
        script = (
            "import sys, time; from slm_mesh import Session\n"
            "session = Session(name='gone'); session.open()\n"
            f"session.lock({str(path)!r}); print('locked', flush=True); time.sleep(60)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with process:
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"locked\n")
            self.assertEqual(len(self.client().locks()), 1)
            process.kill()
            process.wait()
        # At once where the broker watches processes; it is told to forget the dead elsewhere.
        if sys.platform == "linux":
            eventually("the end of the lock", lambda: not self.client().locks())


class Restarts(MeshTest):
    def test_a_session_survives_a_restart(self) -> None:
        with Session(name="bob", start=False) as bob:
            bob.subscribe("build.*")
            identity = bob.registration
            with bob.lock(self.mesh.root / "f") as lock:
                self.client().send("bob", "before")
                self.mesh.kill()
                self.mesh.start()
                self.client().send("bob", "after")
                self.assertEqual([m.payload for m in take(bob, 2)], ["before", "after"])
                self.assertEqual(bob.registration, identity)
                self.assertEqual([held.fence for held in bob.locks()], [lock.fence])
            self.assertEqual(bob.locks(), [])
            eventually("the push connection", lambda: bob.status().push_connected)
            self.client().emit("build.done")
            self.assertEqual(next(bob.listen_events(PATIENCE)).type, "build.done")

    def test_nothing_is_lost_or_doubled_over_many_kills(self) -> None:
        with Session(name="bob", start=False) as bob:
            texts = [str(number) for number in range(300)]
            over = threading.Event()

            def send() -> None:
                # Sending is repeated over each kill: with an id.
                client = self.client(timeout=PATIENCE)
                for text in texts:
                    while True:
                        try:
                            client.send("bob", text, id=f"00000000-0000-4000-8000-{int(text):012}")
                            break
                        except NoBrokerError:
                            continue
                over.set()

            def kill() -> int:
                kills = 0
                while not over.wait(0.02) or kills == 0:
                    self.mesh.kill()
                    self.mesh.start()
                    kills += 1
                return kills

            sending, killing = Background(send), Background(kill)
            got = [message.payload for message in take(bob, len(texts))]
            self.assertEqual(got, texts)
            sending.result()
            self.assertGreater(killing.result(), 0)
            self.assertIsNone(bob.receive(0.1))

    def test_a_session_catches_up_with_what_was_delivered_and_not_read(self) -> None:
        with Session(name="bob") as bob:
            for text in ("1", "2", "3"):
                self.client().send("bob", text)
            eventually("all in the queue", lambda: len(bob._core.mailbox) == 3)
            (first,) = take(bob, 1)
            self.assertEqual(first.payload, "1")
            identity = bob.registration
            eventually("the mark", lambda: len(bob.inbox(peek=True)) == 2)
            # As if its process had died: it neither unregisters nor listens any more.
            with mock.patch.object(Session, "_farewell"):
                bob.close()
        with Session(resume=identity) as back:
            self.client().send("bob", "4")
            self.assertEqual(back.peer_id, identity and identity.peer_id)
            self.assertEqual([m.payload for m in take(back, 3)], ["2", "3", "4"])

    def test_whoever_is_forgotten_registers_anew(self) -> None:
        with Session(name="bob", start=False) as bob:
            bob.set_summary("here")
            bob.subscribe("build.*")
            before = bob.peer_id
            self.mesh.kill()
            for file in self.mesh.dir.glob("mesh.db*"):
                file.unlink()
            self.mesh.start()
            # The call is made in the name of the new peer.
            bob.send("cli", "still here")
            (peer,) = bob.peers()
            self.assertNotEqual(peer.id, before)
            self.assertEqual((peer.id, peer.name, peer.summary), (bob.peer_id, "bob", "here"))
            eventually("the push connection", lambda: bob.status().push_connected)
            self.client().emit("build.done")
            self.assertEqual(next(bob.listen_events(PATIENCE)).type, "build.done")

    def test_a_name_taken_meanwhile_gets_a_number(self) -> None:
        with Session(name="bob", start=False) as bob:
            self.mesh.kill()
            for file in self.mesh.dir.glob("mesh.db*"):
                file.unlink()
            with bob._arriving:
                self.mesh.start()
                self.client().register(name="bob")
            self.assertEqual(eventually("it is back", lambda: bob.status() and bob.name), "bob-2")

    def test_a_session_whose_socket_was_removed_makes_another(self) -> None:
        self.mesh.kill()
        self.mesh.settings["SLM_MESH_HEARTBEAT_MS"] = "50"
        self.mesh.start()
        with Session(name="bob") as bob:
            (self.mesh.dir / "peers" / Path(bob.peers()[0].uds_path or "").name).unlink()
            eventually("another socket", lambda: os.listdir(self.mesh.dir / "peers"))
            self.client().send("bob", "hello")
            self.assertEqual(take(bob, 1)[0].payload, "hello")

    def test_a_killed_broker_is_started_again(self) -> None:
        os.environ["SLM_MESH_BIN"] = binary()
        self.mesh.kill()
        with Session(name="bob") as bob:
            pid = self.mesh.broker_pid()
            before = bob.peer_id
            self.mesh.kill()
            eventually("another broker", lambda: self.mesh.broker_pid() not in (None, pid))
            self.client(start=True).send("bob", "hello")
            self.assertEqual(take(bob, 1)[0].payload, "hello")
            self.assertEqual(bob.peer_id, before)

    def test_a_broker_that_dies_before_it_has_connected_is_missed(self) -> None:
        # Its end is not noticed by that of the push connection.
        unnoticed = mock.patch.multiple(
            core.Core, handle_linked=mock.Mock(), handle_lost=mock.Mock()
        )
        with unnoticed, Session(name="bob", start=False) as bob:
            arrivals = bob._core.arrivals
            self.mesh.kill()
            self.mesh.start()
            eventually("it is back", lambda: bob._core.arrivals > arrivals)

    def test_a_broker_that_was_stopped_is_left_alone_until_someone_needs_it(self) -> None:
        os.environ["SLM_MESH_BIN"] = binary()
        with mock.patch.object(core, "LOOK_EVERY", 0.05), Session(name="bob") as bob:
            before = bob.peer_id
            self.assertEqual(self.mesh.run("stop").returncode, 0)
            time.sleep(0.3)
            self.assertIsNone(self.mesh.broker_pid())
            # It joins one that appears.
            self.mesh.start()
            eventually("the push connection", lambda: self.client().status().push_connected)
            self.assertEqual(self.mesh.run("stop").returncode, 0)
            # A call starts one.
            bob.send("cli", "hello")
            self.assertEqual(bob.peer_id, before)
            eventually("the push connection", lambda: bob.status().push_connected)

    def test_a_session_ends_without_a_broker(self) -> None:
        with Session(name="bob", start=False) as bob:
            self.mesh.kill()
            with self.refused("no_broker"):
                bob.status()
        self.assertEqual(os.listdir(self.mesh.dir / "peers"), [])


class NoBroker(MeshTest):
    starts = False

    def test_without_a_broker_and_a_binary_it_says_what_to_do(self) -> None:
        os.environ["PATH"] = str(self.mesh.root)
        with self.refused("no_broker") as caught, Session():
            pass
        self.assertIn("SLM_MESH_BIN", caught.exception.message)
        with self.refused("no_broker") as caught, Session(start=False):
            pass
        self.assertIn("slm-mesh start --detached", caught.exception.message)
        with self.refused("no_broker") as caught, Session(start=True):
            pass
        self.assertIn("SLM_MESH_BIN", caught.exception.message)
        with self.assertRaises(SLMMeshError):
            Session().status()

    def test_a_missing_data_directory_is_made_by_the_broker(self) -> None:
        os.environ["SLM_MESH_BIN"] = binary()
        with Session(data_dir=self.mesh.dir) as session:
            self.assertEqual(session.status().peers_active, 1)
        self.assertEqual((self.mesh.dir / "peers").stat().st_mode & 0o777, 0o700)

    def test_a_data_directory_with_too_long_a_path_is_refused(self) -> None:
        os.environ["SLM_MESH_BIN"] = binary()
        with self.refused("start_failed") as caught, Session(data_dir=self.mesh.root / ("x" * 90)):
            pass
        self.assertIn("too long", caught.exception.message)


class Signals(MeshTest):
    def test_an_interrupt_in_a_block_leaves_nothing_behind(self) -> None:
        with self.assertRaises(KeyboardInterrupt), Session(name="bob") as bob:
            threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            with bob.lock(self.mesh.root / "f"):
                for _ in bob.listen():
                    pass
        self.assertEqual(self.client().peers(include_stale=True), [])
        self.assertEqual(self.client().locks(), [])
