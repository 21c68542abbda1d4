"""Calls, with a real broker."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
import venv
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

from slm_mesh import (
    LockedError,
    MeshClient,
    NoBrokerError,
    OutcomeUnknownError,
    SLMMeshError,
    VersionConflictError,
    __version__,
)
from slm_mesh._connection import Connection
from slm_mesh._locate import look_at_project
from support import Background, MeshTest, binary, eventually


class Calls(MeshTest):
    def test_the_broker_tells_how_it_is(self) -> None:
        client = self.client()
        health, status = client.health(), client.status()
        self.assertEqual(health.version, __version__)
        self.assertEqual(health.mesh, (self.mesh.dir / "mesh.id").read_text().strip())
        self.assertEqual(status.pid, self.mesh.broker_pid())
        self.assertEqual((status.peers_total, status.role), (0, "broker"))
        self.assertEqual(client.data_dir, str(self.mesh.dir))

    def test_a_peer_registers_and_acts_as_itself(self) -> None:
        alice, bob = self.client(), self.client()
        registered = alice.register(name="alice", summary="tests", private=True)
        bob.register(name="bob", agent_type="aider", project_path=self.mesh.root)
        self.assertEqual(alice.heartbeat(), 0)
        self.assertNotIn(registered.peer_token, repr(registered))
        found = {peer.name: peer for peer in alice.peers()}
        self.assertEqual(found["alice"].summary, "tests")
        self.assertEqual(found["bob"].agent_type, "aider")
        self.assertEqual(found["bob"].project_path, os.path.realpath(self.mesh.root))
        in_directory = alice.peers("directory", project_path=found["bob"].project_path)
        self.assertEqual([peer.name for peer in in_directory], ["bob"])
        with self.refused("invalid_request"):
            alice.peers("repo")
        with self.refused("forbidden"):
            bob.send("cli", "in her name", peer="alice")
        alice.set_summary("more tests")
        self.assertEqual(bob.peers(exclude_id=bob.peer_id)[0].summary, "more tests")
        alice.unregister()
        self.assertEqual([peer.name for peer in bob.peers()], ["bob"])
        with self.refused("peer_not_found"):
            self.client().register(resume=registered)

    def test_messages_go_to_one_to_all_and_to_the_person(self) -> None:
        alice, bob, person = self.client(), self.client(), self.client()
        alice.register(name="alice")
        bob.register(name="bob")
        sent = alice.send("bob", "hello")
        self.assertEqual((sent.recipients, sent.pushed), (1, 0))
        self.assertFalse(sent.damped)
        reply = bob.send("alice", {"ok": [1, None, "ü"]}, reply_to=sent.handle)
        everyone = alice.broadcast("all of you", "alert")
        self.assertEqual(everyone.recipients, 1)
        alice.send("cli", "to you")
        self.assertEqual([m.payload for m in person.inbox(peek=True)], ["to you"])

        first, second = bob.inbox()
        self.assertEqual((first.payload, first.from_name), ("hello", "alice"))
        self.assertEqual((first.handle, first.from_agent), (sent.handle, "python"))
        self.assertEqual((first.is_broadcast, second.is_broadcast), (False, True))
        self.assertEqual(second.type, "alert")
        self.assertEqual(bob.inbox(), [])
        self.assertEqual(len(bob.inbox("all", sender="alice")), 2)
        (answer,) = alice.inbox(peek=True)
        self.assertEqual(answer.json(), {"ok": [1, None, "ü"]})
        self.assertEqual((answer.type, answer.reply_to), ("json", sent.message_id))
        self.assertEqual(alice.mark_read([answer.id, str(uuid.uuid4())]), 1)
        self.assertEqual(alice.mark_read(answer.id), 0)
        mine = alice.inbox("sent", sender="bob")
        self.assertIsNotNone(mine[0].read_at)
        self.assertEqual(bob.inbox("sent")[0].id, reply.message_id)
        counted = alice.inbox("sent")[1]
        self.assertEqual((counted.recipients, counted.read_count), (1, 1))

    def test_pages_and_what_remains(self) -> None:
        bob = self.client()
        bob.register(name="bob")
        for number in range(5):
            self.client().send("bob", str(number))
        page = bob.inbox(limit=2, peek=True)
        self.assertEqual((page.remaining, [m.payload for m in page]), (3, ["0", "1"]))
        rest = bob.inbox(limit=10, peek=True, after=page[-1].seq)
        self.assertEqual([m.payload for m in rest], ["2", "3", "4"])
        before = bob.inbox("all", peek=True, before=rest[0].seq)
        self.assertEqual([m.payload for m in before], ["0", "1"])

    def test_a_message_is_awaited(self) -> None:
        bob = self.client()
        bob.register(name="bob")
        waiting = Background(lambda: bob.inbox(wait=30))
        # Others' calls go on beside it, on another connection.
        self.assertEqual(bob.heartbeat(), 0)
        self.client().send("bob", "now")
        self.assertEqual([m.payload for m in waiting.result()], ["now"])

    def test_unicode_and_64_kib(self) -> None:
        bob = self.client()
        bob.register(name="bob")
        for payload in ('ü€😀\0\u2028"\\\n', "x" * 65_536, "😀" * 16_384, "\x01" * 65_536):
            bob.send("bob", payload)
            self.assertEqual(bob.inbox()[0].payload, payload)
        for payload in ("x" * 65_537, "", "\ud800"):
            with self.refused("invalid_request"):
                bob.send("bob", payload)
        with self.refused("invalid_request"):
            bob.send("bob", "{no json", "json")
        with self.refused("invalid_request"):
            bob.send("bob", {"a": 1}, "text")

    def test_an_id_sends_once(self) -> None:
        bob = self.client()
        bob.register(name="bob")
        id = str(uuid.uuid4())
        first = bob.send("cli", "once", id=id)
        self.assertEqual(bob.send("cli", "once", id=id).message_id, first.message_id)
        with self.refused("id_conflict"):
            bob.send("cli", "another", id=id)

    def test_each_project_has_a_namespace_of_its_own(self) -> None:
        web, api = (self.mesh.root / name for name in ("web", "api"))
        for folder in (web, api):
            folder.mkdir()
        client = self.client()

        def state(folder: Path, *words: str) -> str:
            """The command line, in a project."""
            ran = subprocess.run(
                [binary(), "state", *words],
                cwd=folder,
                env=self.mesh.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            return ran.stdout

        # It is the one that the program means there, in a repository, too.
        subprocess.run(["git", "init", "-q", str(api)], check=True)
        (api / "src").mkdir()
        for folder, value in ((web, "3000"), (api / "src", "4000")):
            state(folder, "set", "port", value)
            namespace = look_at_project(folder).namespace
            entry = client.state_get("port", namespace)
            assert entry is not None, namespace
            self.assertEqual(entry.value, value)
        client.state_set("leader", "me", "shared")
        self.assertEqual(state(web, "get", "leader", "--namespace", "shared"), "me\n")
        entry = client.state_get("leader", "default")
        assert entry is not None
        self.assertEqual(entry.namespace, "default")
        self.assertIsNone(client.state_get("leader"))

    def test_state_with_compare_and_set(self) -> None:
        client = self.client()
        self.assertIsNone(client.state_get("leader"))
        entry = client.state_set("leader", "me", if_version=0)
        with self.assertRaises(VersionConflictError) as caught:
            client.state_set("leader", "you", if_version=0)
        self.assertEqual(caught.exception.response["entry"]["value"], "me")
        self.assertEqual(caught.exception.status_code, 409)
        changed = client.state_set("leader", "you", if_version=entry.version, ttl_seconds=60)
        self.assertGreater(changed.version, entry.version)
        self.assertIsNotNone(changed.expires_at)
        self.assertEqual(client.state_get("leader"), changed)
        client.state_set("a/1", "ü", "other")
        client.state_set("b/1", "y", "other", peer="a-script")
        self.assertEqual([e.key for e in client.state_list("other")], ["a/1", "b/1"])
        (only,) = client.state_list("other", prefix="b/")
        self.assertEqual(only.updated_by, "a-script")
        with self.refused("version_conflict"):
            client.state_delete("leader", if_version=entry.version)
        self.assertTrue(client.state_delete("leader"))
        self.assertFalse(client.state_delete("leader"))

    def test_one_counter_and_many_writers(self) -> None:
        self.client().state_set("n", "0")

        def count() -> None:
            client = self.client()
            for _ in range(20):
                while True:
                    entry = client.state_get("n")
                    assert entry is not None
                    try:
                        client.state_set("n", str(int(entry.value) + 1), if_version=entry.version)
                        break
                    except VersionConflictError:
                        continue

        for worker in [Background(count) for _ in range(4)]:
            worker.result()
        entry = self.client().state_get("n")
        self.assertEqual(entry and entry.value, "80")

    def test_a_lock_ends_with_its_block(self) -> None:
        alice, bob = self.client(), self.client()
        alice.register(name="alice")
        bob.register(name="bob")
        path = self.mesh.root / "file"
        with alice.lock(path, reason="editing") as lock:
            self.assertEqual(lock.file_path, os.path.realpath(path))
            with self.assertRaises(LockedError) as caught:
                bob.lock(path)
            self.assertIn("editing", caught.exception.message)
            self.assertEqual(caught.exception.response["lock"]["lockedByName"], "alice")
            with self.refused("forbidden"):
                bob.unlock(path)
            self.assertEqual([found.locked_by for found in bob.locks(path)], [alice.peer_id])
        self.assertEqual(bob.locks(), [])
        with self.assertRaises(ZeroDivisionError), alice.lock(path):
            raise ZeroDivisionError
        self.assertEqual(bob.locks(), [])
        taken = alice.lock(path)
        again = alice.lock(path, ttl_minutes=60)
        self.assertEqual(taken.fence, again.fence)
        bob.unlock(path, force=True)
        with self.refused("lock_not_found"):
            alice.unlock(path)

    def test_a_file_has_one_name(self) -> None:
        client = self.client()
        (self.mesh.root / "real").mkdir()
        (self.mesh.root / "link").symlink_to("real")
        with client.lock(self.mesh.root / "link/../link/./new"):
            (lock,) = client.locks(self.mesh.root / "real/new")
        self.assertEqual(lock.file_path, os.path.realpath(self.mesh.root / "real") + "/new")
        with client.lock("deploy", resolve=False, peer="a-script") as label:
            self.assertEqual(label.file_path, "deploy")

    def test_a_lock_guards_what_is_meant_or_is_refused(self) -> None:
        client = self.client()
        root = Path(os.path.realpath(self.mesh.root / "project"))
        for directory in ("src/app/[id]", "@types"):
            (root / directory).mkdir(parents=True)
        for name in ("src/a.ts", "src/b c.ts", "src/app/[id]/page.tsx", "a:10", "star*.ts"):
            (root / name).touch()
        here = os.getcwd()
        os.chdir(root)
        self.addCleanup(os.chdir, here)
        for text, expected in {
            "src/a.ts ": "src/a.ts",
            "`src/a.ts`": "src/a.ts",
            "@src/a.ts": "src/a.ts",
            "src/a.ts:10:5": "src/a.ts",
            "src/a.ts#L3-L4": "src/a.ts",
            f"file://{root}/src/b%20c.ts": "src/b c.ts",
            "a:10": "a:10",
            "@types/x": "@types/x",
            "src": "src/**",
            "src/*.ts": "src/*.ts",
            "src/app/[id]/*": "src/app/[id]/*",
            "src/**/[id]/*": "src/**/[id]/*",
            "port:3000": "port:3000",
            "new/": "new/**",
        }.items():
            with self.subTest(text), client.lock(text) as lock:
                self.assertEqual(lock.file_path, f"{root}/{expected}")
        for text in (
            "src/*.{ts,tsx}",
            "src/{a,b}.ts",
            "src/[a-c].*",
            "src/a.ts,src/new.ts",
            "src/a.ts star*.ts",
            "https://example.com/a.ts",
            "~nobody/x",
            "!src/a.ts",
            "",
            "src/*.@(ts|tsx)",
        ):
            with self.subTest(text), self.refused("invalid_request"):
                client.lock(text)
        # A path object is a file, and what was locked is found again when its file has gone.
        with client.lock(root / "star*.ts") as lock:
            self.assertEqual((lock.file_path, lock.pattern), (f"{root}/star*.ts", False))
            self.assertEqual(client.locks(root / "star1.ts"), [])
        self.assertEqual(client.locks(), [])
        client.lock("src/app/[id]/*")
        (root / "src/app/[id]/page.tsx").unlink()
        (root / "src/app/[id]").rmdir()
        client.unlock("src/app/[id]/*")

    def test_events_are_read_followed_and_emitted(self) -> None:
        client = self.client()
        start = client.events().last_seq
        begun = datetime.now(timezone.utc)
        seq = client.emit("build.finished", {"ok": True, "ü": [1]})
        client.state_set("k", "v")
        mine = client.events("build.*", after=start)
        self.assertEqual([(e.seq, e.payload) for e in mine], [(seq, {"ok": True, "ü": [1]})])
        self.assertEqual(mine[0].emitted_by, "cli")
        kinds = [event.type for event in client.events(after=start)]
        self.assertEqual(kinds, ["build.finished", "state_changed"])
        self.assertEqual(client.events(["state_changed"])[0].payload["value"], "v")
        self.assertEqual(len(client.events(since=begun.replace(year=begun.year - 1))), 2)
        following = client.follow("build.*", after=start)
        self.assertEqual(next(following).seq, seq)
        waiting = Background(lambda: next(following))
        later = self.client().emit("build.finished")
        self.assertEqual(waiting.result().seq, later)
        with self.refused("invalid_request"):
            client.emit("mesh.own")
        with self.refused("invalid_request"):
            client.events(wait=56)
        with self.refused("peer_not_found"):
            client.subscribe("*")

    def test_a_rate_limit_tells_how_long(self) -> None:
        self.mesh.kill()
        self.mesh.settings["SLM_MESH_RATE_LIMIT"] = "3"
        self.mesh.start()
        client = self.client()
        with self.refused("rate_limited") as caught:
            for _ in range(10):
                client.status()
        self.assertEqual(caught.exception.status_code, 429)
        self.assertGreater(caught.exception.retry_after, 0)

    def test_a_connection_is_kept(self) -> None:
        client = self.client()
        for _ in range(5):
            client.status()
        self.assertEqual(len(client._pool._idle), 1)
        kept = client._pool._idle[0]
        client.status()
        self.assertIs(client._pool._idle[0], kept)
        client.close()
        self.assertEqual(client._pool._idle, [])
        client.status()

    def test_the_socket_is_preferred_and_the_port_will_do(self) -> None:
        def family(client: MeshClient) -> int:
            client.status()
            return int(client._pool._idle[0]._socket.family)

        path = self.mesh.dir / "broker.sock"
        self.assertEqual(family(self.client()), socket.AF_UNIX)
        port = int((self.mesh.dir / "port").read_text())
        self.assertEqual(family(self.client(port=port)), socket.AF_INET)
        path.unlink()
        self.assertEqual(family(self.client()), socket.AF_INET)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        self.assertEqual(family(self.client()), socket.AF_INET)


class Trouble(MeshTest):
    def test_a_wrong_token_is_refused_and_a_right_one_elsewhere_taken(self) -> None:
        token = self.mesh.root / "token"
        token.write_text("0" * 64)
        port = int((self.mesh.dir / "port").read_text())
        with self.refused("unauthorized") as caught:
            self.client(port=port, token_path=token).status()
        self.assertEqual(caught.exception.status_code, 401)
        token.write_text((self.mesh.dir / "broker.token").read_text())
        self.assertEqual(self.client(port=port, token_path=token).status().port, port)
        self.client(token_path=self.mesh.dir / "broker.token").status()
        token.unlink()
        with self.refused("file_error"):
            self.client(port=port, token_path=token).status()

    def test_arguments_that_cannot_be_are_refused(self) -> None:
        for arguments in (
            {"host": "10.0.0.1"},
            {"port": 0},
            {"port": 65_536},
            {"timeout": 0},
            {"timeout": -1},
            {"timeout": float("nan")},
        ):
            with self.refused("invalid_request"):
                MeshClient(**arguments)
        with self.refused("file_error"):
            MeshClient(data_dir="~/mesh")

    def test_a_data_directory_that_others_can_write_to_is_refused(self) -> None:
        for mode, code in ((0o777, "file_error"), (0o720, "file_error"), (0o755, None)):
            self.mesh.dir.chmod(mode)
            if code is None:
                self.client().status()
                continue
            with self.refused(code) as caught:
                self.client().status()
            self.assertIn("chmod 700", caught.exception.message)
        self.mesh.dir.chmod(0o700)

    def test_a_data_directory_of_another_user_is_refused(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can make what belongs to another user")
        link = self.mesh.root / "link"
        link.symlink_to(self.mesh.dir)
        self.client(data_dir=link).status()
        for path in (link, self.mesh.dir / "peers", self.mesh.dir):
            os.chown(path, 65_534, -1, follow_symlinks=False)
            with self.refused("file_error") as caught:
                self.client(data_dir=link).status()
            self.assertIn("another user", caught.exception.message)
            os.chown(path, 0, -1, follow_symlinks=False)
        self.mesh.dir.joinpath("peers").chmod(0o777)
        with self.refused("file_error") as caught:
            self.client().status()
        self.assertIn("chmod 700", caught.exception.message)
        with self.refused("file_error"):
            self.client(data_dir=self.mesh.dir / "port").status()

    def test_what_a_sandbox_says_is_not_said_of_the_broker(self) -> None:
        for number in (errno.EPERM, errno.EACCES, errno.ENETUNREACH, errno.EAFNOSUPPORT):
            error = OSError(number, os.strerror(number))
            with (
                mock.patch.object(socket.socket, "connect", side_effect=error),
                self.refused("sandboxed") as caught,
            ):
                self.client(timeout=1).status()
            self.assertIn("sandbox", caught.exception.message)
            self.assertIn("mesh_send", caught.exception.message)

    def test_a_restarted_broker_is_found_again(self) -> None:
        client = self.client()
        client.status()
        self.mesh.kill()
        self.mesh.start()
        self.assertEqual(client.status().pid, self.mesh.broker_pid())
        # The same port and another token.
        self.mesh.settings["SLM_MESH_PORT"] = (self.mesh.dir / "port").read_text().strip()
        self.mesh.kill()
        self.mesh.start()
        self.assertEqual(client.status().pid, self.mesh.broker_pid())

    def test_a_peer_comes_back_after_a_restart(self) -> None:
        bob = self.client()
        registered = bob.register(name="bob")
        bob.lock(self.mesh.root / "file")
        self.client().send("bob", "before")
        self.mesh.kill()
        self.mesh.start()
        self.assertEqual([m.payload for m in bob.inbox()], ["before"])
        again = self.client()
        back = again.register(resume=registered)
        self.assertEqual((back.peer_id, back.name), (registered.peer_id, "bob"))
        self.assertEqual(back.peer_token, registered.peer_token)
        self.assertEqual(len(again.locks()), 1)

    def test_a_call_survives_a_broker_killed_in_the_middle(self) -> None:
        bob = self.client()
        bob.register(name="bob")
        waiting = Background(lambda: bob.inbox(wait=30))
        status = self.client()
        self.assertEqual(status.status().peers_active, 1)
        self.mesh.kill()
        self.mesh.start()
        self.client().send("bob", "after")
        self.assertEqual([m.payload for m in waiting.result()], ["after"])

    def test_after_a_kill_in_the_middle_a_send_is_repeated_and_a_set_is_not(self) -> None:
        """The broker is halted while it has both requests, and then killed."""
        sender, setter = self.client(), self.client()
        for client in (sender, setter):
            client.status()
        pid = self.mesh.broker_pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        sent: list[bytes] = []
        send = Connection._send

        def record(connection: Connection, data: bytes, deadline: float) -> None:
            send(connection, data, deadline)
            sent.append(data)

        with mock.patch.object(Connection, "_send", record):
            sending = Background(lambda: sender.send("cli", "once"))
            setting = Background(lambda: setter.state_set("k", "v"))
            eventually("both requests on their way", lambda: len(sent) == 2)
        self.mesh.kill()
        self.mesh.start()
        sending.result()
        with self.assertRaises(OutcomeUnknownError) as caught:
            setting.result()
        self.assertEqual(caught.exception.code, "outcome_unknown")
        self.assertEqual([m.payload for m in sender.inbox(peek=True)], ["once"])

    def test_an_unknown_outcome_is_told(self) -> None:
        changes: list[Callable[[MeshClient], object]] = [
            lambda client: client.state_set("k", "v"),
            lambda client: client.send("cli", "x"),
            lambda client: client.emit("a.b", 1),
            lambda client: client.lock("/x"),
        ]
        # Each has a connection already: on a new one nothing would be sent.
        clients = [self.client(timeout=0.3) for _ in changes]
        looking, late = self.client(timeout=0.3), self.client(timeout=0.3)
        for client in (*clients, looking):
            client.status()
        pid = self.mesh.broker_pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            for client, change in zip(clients, changes, strict=True):
                with self.assertRaises(OutcomeUnknownError):
                    change(client)
            with self.refused("no_answer"):
                looking.status()
            with self.refused("no_answer"):
                late.send("cli", "x")
        finally:
            os.kill(pid, signal.SIGCONT)
        self.client().status()


class NoBroker(MeshTest):
    starts = False

    def test_no_broker_is_told_with_what_to_do(self) -> None:
        with self.assertRaises(NoBrokerError) as caught:
            self.client().status()
        self.assertIn(str(self.mesh.dir), caught.exception.message)
        self.assertIn("slm-mesh start --detached", caught.exception.message)
        self.assertEqual(caught.exception.status_code, 0)
        self.assertFalse(self.mesh.dir.exists())

    def test_files_of_a_killed_broker_are_not_believed(self) -> None:
        self.mesh.start()
        client = self.client()
        client.status()
        self.mesh.kill()
        self.assertTrue((self.mesh.dir / "port").exists())
        with self.refused("no_broker"):
            self.client().status()
        with self.refused("no_broker"):
            client.status()

    def test_a_broker_is_started_if_asked(self) -> None:
        os.environ["SLM_MESH_BIN"] = binary()
        # Many at once end with one broker.
        clients = [Background(lambda: self.client(start=True).status().pid) for _ in range(4)]
        self.assertEqual({worker.result() for worker in clients}, {self.mesh.broker_pid()})

    def test_the_program_of_a_virtual_environment_is_found_without_its_path(self) -> None:
        programs = self.mesh.root / "venv" / "bin"
        venv.create(programs.parent, symlinks=True)
        (programs / "slm-mesh").symlink_to(binary())
        code = "from slm_mesh._locate import find_binary; print(find_binary())"
        environment = {"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [str(programs / "python"), "-c", code]
        found = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        self.assertEqual(found.stdout.strip(), str(programs / "slm-mesh"))

    def test_a_broker_that_cannot_be_started_says_why(self) -> None:
        os.environ["PATH"] = str(self.mesh.root)
        with self.refused("no_broker") as caught:
            self.client(start=True).status()
        self.assertIn("SLM_MESH_BIN", caught.exception.message)
        os.environ["SLM_MESH_BIN"] = str(self.mesh.root / "missing")
        with self.refused("start_failed"):
            self.client(start=True).status()
        os.environ["SLM_MESH_BIN"] = binary()
        os.environ["SLM_MESH_RATE_LIMIT"] = "many"
        with self.refused("start_failed") as caught:
            self.client(start=True).status()
        self.assertIn("SLM_MESH_RATE_LIMIT", caught.exception.message)

    def _serve(self, reply: bytes) -> tuple[int, list[bytes]]:
        """Something that is not slm-mesh, and what it was sent."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        seen: list[bytes] = []

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    seen.append(connection.recv(65_536))
                    connection.sendall(reply)
                    if reply:
                        connection.recv(65_536)

        threading.Thread(target=run, daemon=True).start()
        return server.getsockname()[1], seen

    def test_something_else_at_the_port_gets_no_token(self) -> None:
        token = self.mesh.root / "token"
        token.write_text("secret")
        for reply, code in (
            (b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}', "not_our_broker"),
            (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "protocol_error"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "protocol_error"),
            (b"", "unreachable"),
        ):
            port, seen = self._serve(reply)
            with self.refused(code):
                self.client(port=port, token_path=token, timeout=1).status()
            self.assertTrue(seen)
            self.assertFalse([data for data in seen if b"secret" in data])

    def test_another_mesh_is_not_ours(self) -> None:
        self.mesh.start()
        port = int((self.mesh.dir / "port").read_text())
        other = Path(self.mesh.root / "other")
        other.mkdir()
        (other / "broker.token").write_text((self.mesh.dir / "broker.token").read_text())
        (other / "mesh.id").write_text(str(uuid.uuid4()))
        with self.refused("not_our_broker"):
            self.client(port=port, token_path=other / "broker.token", timeout=2).status()

    def test_a_broker_that_is_not_ready_is_waited_for(self) -> None:
        self.mesh.start()
        port = self.mesh.dir / "port"
        text = port.read_text()
        port.unlink()
        waiting = Background(lambda: self.client().status().port)
        with self.refused("unreachable"):
            self.client(timeout=0.2).status()
        port.write_text(text)
        self.assertEqual(waiting.result(), int(text))


class Use(MeshTest):
    def test_it_is_a_context_manager_and_threads_share_it(self) -> None:
        with MeshClient() as client:
            workers = [
                Background(lambda: [client.state_list() for _ in range(20)]) for _ in range(8)
            ]
            for worker in workers:
                worker.result()
            eventually("an idle connection", lambda: client._pool._idle)
            self.assertLessEqual(len(client._pool._idle), 4)

    def test_errors_are_of_one_kind(self) -> None:
        error = SLMMeshError("m", 418, {"code": "teapot"})
        self.assertEqual((error.message, error.status_code, error.code), ("m", 418, "teapot"))
        self.assertEqual(str(error), "m")
