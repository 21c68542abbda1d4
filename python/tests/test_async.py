"""The same with asyncio: what is written anew for it, with a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
import unittest
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from unittest import mock

from slm_mesh import (
    AsyncMeshClient,
    AsyncSession,
    LockedError,
    MeshClient,
    NoBrokerError,
    OutcomeUnknownError,
    VersionConflictError,
)
from slm_mesh import _core as core
from slm_mesh.models import Message
from support import PATIENCE, MeshTest, binary

T = TypeVar("T")


async def eventually(what: str, look: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.005)
    raise AssertionError(f"never came: {what}")


async def take(session: AsyncSession, count: int) -> list[Message]:
    found: list[Message] = []
    async for message in session.listen(PATIENCE):
        found.append(message)
        if len(found) == count:
            return found
    raise AssertionError(f"{len(found)} of {count} messages came")


class AsyncTest(MeshTest):
    def run_async(self, work: Coroutine[Any, Any, T]) -> T:
        before = threading.active_count()

        async def whole() -> T:
            result = await asyncio.wait_for(work, 60)
            # No thread was started for any of it.
            self.assertEqual(threading.active_count(), before)
            return result

        return asyncio.run(whole())


class Ways(AsyncTest):
    def test_the_socket_is_preferred_and_the_port_will_do(self) -> None:
        async def family() -> int:
            async with AsyncMeshClient() as client:
                await client.status()
                transport = client._pool._idle[0]._transport
                assert transport is not None
                return int(transport.get_extra_info("socket").family)

        self.assertEqual(self.run_async(family()), socket.AF_UNIX)
        (self.mesh.dir / "broker.sock").unlink()
        self.assertEqual(self.run_async(family()), socket.AF_INET)


class Calls(AsyncTest):
    def test_every_method_of_the_client_is_there(self) -> None:
        names = [name for name in dir(MeshClient) if not name.startswith("_")]
        self.assertEqual([n for n in names if not hasattr(AsyncMeshClient, n)], [])

    def test_calls(self) -> None:
        async def work() -> None:
            async with AsyncMeshClient() as client, AsyncMeshClient() as bob:
                health, status = await asyncio.gather(client.health(), client.status())
                self.assertEqual(status.version, health.version)
                await bob.register(name="bob")
                await bob.set_summary("here")
                self.assertEqual(await bob.heartbeat(), 0)
                self.assertEqual([p.summary for p in await client.peers()], ["here"])
                waiting = asyncio.create_task(bob.inbox(wait=30))
                await client.send("bob", {"ü": "x" * 60_000})
                (message,) = await waiting
                self.assertEqual(message.json(), {"ü": "x" * 60_000})
                await client.broadcast("all")
                (second,) = await bob.inbox(peek=True)
                self.assertEqual(await bob.mark_read([second.id]), 1)
                self.assertEqual(len(await client.inbox("sent")), 2)

                entry = await client.state_set("k", "v", if_version=0)
                with self.assertRaises(VersionConflictError):
                    await client.state_set("k", "w", if_version=0)
                self.assertEqual(await client.state_get("k"), entry)
                self.assertEqual(await client.state_list(prefix="k"), [entry])
                self.assertTrue(await client.state_delete("k"))

                start = (await client.events()).last_seq
                seq = await client.emit("build.done", [1])
                async for event in client.follow("build.*", after=start):
                    self.assertEqual((event.seq, event.payload), (seq, [1]))
                    break
                self.assertEqual(await bob.subscribe("*"), ["*"])
                await bob.unsubscribe()
                await bob.unregister()
                self.assertIsNone(bob.peer_id)

        self.run_async(work())

    def test_locks(self) -> None:
        path = self.mesh.root / "f"

        async def work() -> None:
            async with AsyncMeshClient() as client:
                async with client.lock(path, reason="mine", peer="one") as lock:
                    with self.assertRaises(LockedError):
                        await client.lock(path, peer="two")
                    self.assertEqual([k.fence for k in await client.locks(path)], [lock.fence])
                self.assertEqual(await client.locks(), [])
                held = await client.lock(path)
                await client.unlock(held.file_path)
                with self.refused("lock_not_found"):
                    await client.unlock(path)

        self.run_async(work())

    def test_a_task_that_is_cancelled_leaves_no_lock(self) -> None:
        path = self.mesh.root / "f"

        async def work() -> None:
            async with AsyncMeshClient() as client:

                async def hold() -> None:
                    async with client.lock(path):
                        await asyncio.sleep(60)

                # At each step of taking, holding and releasing it.
                for steps in range(12):
                    task = asyncio.create_task(hold())
                    for _ in range(steps):
                        await asyncio.sleep(0.0005 * steps)
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                    self.assertEqual(await client.locks(), [], steps)

        self.run_async(work())

    def test_a_call_that_is_cancelled_does_not_spoil_the_next(self) -> None:
        async def work() -> None:
            async with AsyncMeshClient() as client:
                await client.status()
                for steps in range(20):
                    task = asyncio.create_task(client.state_list())
                    for _ in range(steps % 5):
                        await asyncio.sleep(0)
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                    self.assertEqual((await client.status()).role, "broker")

        self.run_async(work())

    def test_restarts_and_unknown_outcomes(self) -> None:
        async def work() -> None:
            async with AsyncMeshClient(timeout=0.5) as client:
                await client.status()
                self.mesh.kill()
                self.mesh.start()
                self.assertEqual((await client.status()).pid, self.mesh.broker_pid())
                pid = self.mesh.broker_pid()
                assert pid is not None
                os.kill(pid, signal.SIGSTOP)
                with self.assertRaises(OutcomeUnknownError):
                    await client.state_set("k", "v")
                with self.refused("no_answer"):
                    await client.status()
                os.kill(pid, signal.SIGCONT)
                self.mesh.kill()
                with self.assertRaises(NoBrokerError):
                    await AsyncMeshClient().status()

        self.run_async(work())

    def test_a_wrong_token_and_something_else_at_the_port(self) -> None:
        token = self.mesh.root / "token"
        token.write_text("secret")

        async def work() -> None:
            port = int((self.mesh.dir / "port").read_text())
            async with AsyncMeshClient(port=port, token_path=token) as client:
                with self.refused("unauthorized"):
                    await client.status()
            seen: list[bytes] = []

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                seen.append(await reader.read(65_536))
                writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            other = server.sockets[0].getsockname()[1]
            async with AsyncMeshClient(port=other, token_path=token) as client:
                with self.refused("protocol_error"):
                    await client.status()
            server.close()
            self.assertTrue(seen)
            self.assertFalse([data for data in seen if b"secret" in data])

        self.run_async(work())


class Sessions(AsyncTest):
    def test_two_sessions_exchange_messages(self) -> None:
        async def work() -> None:
            async with AsyncSession(name="alice") as alice, AsyncSession(name="bob") as bob:

                async def answer() -> None:
                    async for message in bob.listen():
                        await bob.send(message.from_peer, message.payload, reply_to=message.id)

                answering = asyncio.create_task(answer())
                texts = [str(number) for number in range(300)] + ["\x01" * 65_536, "ü😀"]
                for text in texts:
                    await alice.send("bob", text)
                self.assertEqual([m.payload for m in await take(alice, len(texts))], texts)

                async def all_read() -> bool:
                    return all(m.read_at for m in await alice.inbox("sent", limit=1000))

                await eventually("the marks", all_read)
                await bob.close()
                await answering
                with self.refused("closed"):
                    await bob.status()

        self.run_async(work())
        self.assertEqual(self.client().peers(include_stale=True), [])
        self.assertEqual(os.listdir(self.mesh.dir / "peers"), [])

    def test_who_does_not_take_gets_all_later(self) -> None:
        async def work() -> None:
            async with AsyncSession(name="bob") as bob, AsyncMeshClient() as client:
                count = core.QUEUE_MAX + 200
                for number in range(count):
                    await client.send("bob", str(number))
                await eventually("a full queue", lambda: len(bob._core.mailbox) >= core.QUEUE_MAX)
                self.assertLess(len(bob._core.mailbox), count)
                found = [message.payload for message in await take(bob, count)]
                self.assertEqual(found, [str(number) for number in range(count)])

        self.run_async(work())

    def test_listening_ends_and_a_loop_that_was_left_has_marked(self) -> None:
        async def work() -> str | None:
            async with AsyncSession(name="bob") as bob, AsyncMeshClient() as client:
                self.assertEqual([m async for m in bob.listen(timeout=0.01)], [])
                self.assertEqual([e async for e in bob.listen_events(timeout=0.01)], [])
                sent = await client.send("bob", "last")
                async for _ in bob.listen():
                    break
                return sent.message_id

        sent = self.run_async(work())
        (message,) = self.client().inbox("sent")
        self.assertEqual(message.id, sent)
        self.assertIsNotNone(message.read_at)

    def test_a_session_survives_kills_and_keeps_its_lock(self) -> None:
        async def work() -> None:
            async with AsyncSession(name="bob", start=False) as bob:
                async with bob.lock(self.mesh.root / "f") as lock:
                    await bob.subscribe("build.*")
                    identity = bob.registration
                    for text in ("1", "2", "3"):
                        self.mesh.kill()
                        self.mesh.start()
                        self.client().send("bob", text)
                        self.assertEqual((await take(bob, 1))[0].payload, text)
                    self.assertEqual(bob.registration, identity)
                    self.assertEqual([k.fence for k in await bob.locks()], [lock.fence])
                self.assertEqual(await bob.locks(), [])
                self.client().emit("build.done")
                async for event in bob.listen_events(PATIENCE):
                    self.assertEqual(event.type, "build.done")
                    break

        self.run_async(work())

    def test_a_killed_broker_is_started_again(self) -> None:
        os.environ["SLM_MESH_BIN"] = binary()
        self.mesh.kill()

        async def work() -> None:
            async with AsyncSession(name="bob") as bob:
                pid, before = self.mesh.broker_pid(), bob.peer_id
                self.mesh.kill()
                await eventually("a broker", lambda: self.mesh.broker_pid() not in (None, pid))
                await bob.send("cli", "hello")
                self.assertEqual(bob.peer_id, before)

        # Starting a program takes a thread of asyncio itself in Python 3.10 and 3.11.
        asyncio.run(asyncio.wait_for(work(), 60))

    def test_whoever_is_forgotten_registers_anew(self) -> None:
        async def work() -> None:
            async with AsyncSession(name="bob", start=False) as bob:
                before = bob.peer_id
                self.mesh.kill()
                for file in self.mesh.dir.glob("mesh.db*"):
                    file.unlink()
                self.mesh.start()
                await bob.send("cli", "still here")
                self.assertNotEqual(bob.peer_id, before)
                self.assertEqual([p.id for p in await bob.peers()], [bob.peer_id])

        self.run_async(work())

    def test_a_lock_that_was_lost_is_told(self) -> None:
        path = self.mesh.root / "f"

        async def work() -> None:
            async with AsyncSession(name="alice") as alice:
                with self.refused("lock_lost"):
                    async with alice.lock(path):
                        await alice.unlock(path, force=True)
                        alice._core.holdings[0].renew_at = 0.0
                        alice._due.set()
                        await eventually("the loss", lambda: alice._core.holdings[0].lost)

        self.run_async(work())

    def test_a_session_that_is_cancelled_leaves_nothing_behind(self) -> None:
        async def work() -> None:
            async def live() -> None:
                async with AsyncSession(name="bob") as bob, bob.lock(self.mesh.root / "f"):
                    async for _ in bob.listen():
                        pass

            task = asyncio.create_task(live())
            await eventually("the lock", lambda: self.client().locks())
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self.run_async(work())
        self.assertEqual(self.client().peers(include_stale=True), [])
        self.assertEqual(self.client().locks(), [])
        self.assertEqual(os.listdir(self.mesh.dir / "peers"), [])

    def test_a_broker_that_was_stopped_is_left_alone(self) -> None:
        os.environ["SLM_MESH_BIN"] = binary()

        async def work() -> None:
            async with AsyncSession(name="bob") as bob:
                self.assertEqual(self.mesh.run("stop").returncode, 0)
                await asyncio.sleep(0.3)
                self.assertIsNone(self.mesh.broker_pid())
                self.mesh.start()
                await eventually(
                    "the push connection", lambda: self.client().status().push_connected
                )
                self.client().send("bob", "hello")
                self.assertEqual((await take(bob, 1))[0].payload, "hello")

        with mock.patch.object(core, "LOOK_EVERY", 0.05):
            self.run_async(work())


if __name__ == "__main__":
    unittest.main()
