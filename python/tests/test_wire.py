"""Codecs and values, without a broker."""

from __future__ import annotations

import hashlib
import os
import tempfile
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

from slm_mesh import SLMMeshError
from slm_mesh._core import KNOWN_MAX, QUEUE_MAX, Mailbox
from slm_mesh._locate import look_at_project, loopback_host
from slm_mesh._remote import normal_form, remote_hash
from slm_mesh._wire import (
    ANSWER_BYTES_MAX,
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    Answer,
    AnswerReader,
    LineReader,
    encode_body,
    encode_request,
)
from slm_mesh.models import MeshEvent, Message, Messages, Sent


def answer(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"])
    return head.encode() + b"\r\n\r\n" + body


class Answers(unittest.TestCase):
    def test_bytes_may_come_in_any_pieces(self) -> None:
        data = answer('{"a":"ü"}'.encode()) + answer(b"{}", "connection: close", status="409 No")
        expected = [Answer(200, {"a": "ü"}), Answer(409, {}, True)]
        for size in (1, 2, 3, 7, len(data) // 2):
            reader, found = AnswerReader(), []
            for at in range(0, len(data), size):
                # A second answer in the same bytes is found with the next ones.
                if got := reader.feed(data[at : at + size]):
                    found.append(got)
            if got := reader.feed(b""):
                found.append(got)
            self.assertEqual(found, expected, size)
            self.assertTrue(reader.is_empty())

    def test_what_is_no_answer_is_refused(self) -> None:
        for data in (
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 abc\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            answer(b"[]"),
            answer(b"{"),
            answer(b"[" * 100_000),
            b"x" * 20_000,
            f"HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_BYTES_MAX + 1}\r\n\r\n".encode(),
        ):
            with self.assertRaises(SLMMeshError, msg=data[:80]) as caught:
                AnswerReader().feed(data)
            self.assertEqual(caught.exception.code, "protocol_error")

    def test_an_answer_may_be_as_long_as_is_allowed(self) -> None:
        body = b'{"a":"' + b"x" * (ANSWER_BYTES_MAX - 8) + b'"}'
        self.assertEqual(len(body), ANSWER_BYTES_MAX)
        self.assertIsNotNone(AnswerReader().feed(answer(body)))


class Requests(unittest.TestCase):
    def test_a_body_has_a_limit(self) -> None:
        frame = len(encode_body({"a": ""}))
        encode_body({"a": "x" * (BODY_BYTES_MAX - frame)})
        with self.assertRaises(SLMMeshError) as caught:
            encode_body({"a": "x" * (BODY_BYTES_MAX - frame + 1)})
        self.assertEqual(caught.exception.code, "too_large")

    def test_what_is_no_json_is_refused(self) -> None:
        for value in (float("nan"), "\ud800", object(), b"x"):
            with self.assertRaises(SLMMeshError) as caught:
                encode_body({"a": value})
            self.assertEqual(caught.exception.code, "invalid_request")

    def test_a_token_cannot_smuggle_a_header(self) -> None:
        for token in ("a\r\nX: y", "ü", "a\0"):
            with self.assertRaises(SLMMeshError):
                encode_request("/status", "h:1", token, None)


class Frames(unittest.TestCase):
    def test_lines_may_come_in_any_pieces(self) -> None:
        data = b'{"a":1}\n\n{"b":2}\n'
        for size in range(1, len(data) + 1):
            reader, lines = LineReader(), []
            for at in range(0, len(data), size):
                lines += reader.feed(data[at : at + size])
            self.assertEqual(lines, [b'{"a":1}', b"", b'{"b":2}'])

    def test_a_frame_has_a_limit(self) -> None:
        reader = LineReader()
        self.assertEqual(reader.feed(b"x" * FRAME_BYTES_MAX), [])
        self.assertEqual(len(reader.feed(b"\n")), 1)
        with self.assertRaises(ValueError):
            reader.feed(b"x" * (FRAME_BYTES_MAX + 1))


def message(seq: int, id: str | None = None) -> Message:
    return Message(
        id=id or f"m{seq}",
        seq=seq,
        from_peer="a",
        to_peer="b",
        type="text",
        payload="",
        created_at=datetime.now(timezone.utc),
    )


def page(*seqs: int, remaining: int = 0) -> Messages:
    messages = Messages(message(seq) for seq in seqs)
    messages.remaining = remaining
    return messages


class Mailboxes(unittest.TestCase):
    def taken(self, mailbox: Mailbox) -> list[int]:
        found = []
        while (taken := mailbox.take()[0]) is not None:
            found.append(taken.seq)
        return found

    def test_a_message_is_taken_once(self) -> None:
        mailbox = Mailbox()
        for _ in range(2):
            self.assertTrue(mailbox.put_pushed(message(1)))
        self.assertEqual(self.taken(mailbox), [1])
        self.assertTrue(mailbox.put_pushed(message(1)))
        mailbox.catch_up()
        mailbox.put_page(page(1))
        self.assertEqual(self.taken(mailbox), [])

    def test_what_came_before_an_interruption_comes_first(self) -> None:
        mailbox = Mailbox()
        mailbox.catch_up()
        mailbox.put_pushed(message(5))
        self.assertEqual(self.taken(mailbox), [])
        mailbox.put_page(page(1, 2, remaining=2))
        self.assertEqual(self.taken(mailbox), [1, 2])
        self.assertEqual(mailbox.wants_page(), 2)
        mailbox.put_page(page(4, 5))
        self.assertIsNone(mailbox.wants_page())
        self.assertEqual(self.taken(mailbox), [4, 5])

    def test_who_does_not_take_stops_the_flow(self) -> None:
        mailbox = Mailbox()
        for seq in range(1, QUEUE_MAX + 1):
            self.assertTrue(mailbox.put_pushed(message(seq)))
        for seq in (QUEUE_MAX + 1, QUEUE_MAX + 2, QUEUE_MAX + 1):
            self.assertFalse(mailbox.put_pushed(message(seq)))
        self.assertEqual(len(mailbox), QUEUE_MAX + 2)
        self.assertEqual(mailbox.take()[1], [])
        self.assertEqual(mailbox.take()[1], [f"m{QUEUE_MAX + 1}", f"m{QUEUE_MAX + 2}"])
        # It comes again over a new connection, and is known.
        self.assertTrue(mailbox.put_pushed(message(QUEUE_MAX + 1)))
        self.assertEqual(len(self.taken(mailbox)), QUEUE_MAX)

    def test_what_is_known_is_bounded(self) -> None:
        mailbox = Mailbox()
        for seq in range(1, KNOWN_MAX + 2):
            mailbox.put_pushed(message(seq))
            mailbox.take()
        mailbox.put_pushed(message(2))
        self.assertEqual(len(mailbox), 0)
        mailbox.put_pushed(message(1))
        self.assertEqual(len(mailbox), 1)

    def test_marks_wait_until_a_message_was_looked_at(self) -> None:
        mailbox = Mailbox()
        mailbox.handed("a")
        self.assertEqual(mailbox.marks(), [])
        self.assertTrue(mailbox.done("a"))
        self.assertFalse(mailbox.done("a"))
        mailbox.handed("b")
        mailbox.all_done()
        self.assertEqual(mailbox.marks(), ["a", "b"])
        mailbox.marked(1)
        self.assertEqual(mailbox.marks(), ["b"])


class Values(unittest.TestCase):
    def test_unknown_fields_are_ignored_and_new_ones_read(self) -> None:
        obj = {
            "id": "i",
            "seq": 7,
            "fromPeer": "a",
            "fromName": "alice",
            "toPeer": "b",
            "type": "text",
            "payload": "x",
            "createdAt": "2026-04-08T10:30:01.123Z",
            "delivered": True,
            "handle": "k7q2",
            "fromAgent": "codex",
            "sentAt": "2026-04-08T10:30:01.500Z",
            "sentBy": "queue",
            "sentStatus": "held",
            "notifiedAt": "2026-04-08T10:30:02.000Z",
            "notifiedBy": "hook",
            "stage": "notified",
            "fromTheFuture": {"a": 1},
        }
        found = Message.from_json(obj)
        self.assertEqual((found.stage, found.notified_by), ("notified", "hook"))
        self.assertEqual((found.handle, found.from_agent), ("k7q2", "codex"))
        self.assertEqual((found.sent_by, found.sent_status), ("queue", "held"))
        self.assertEqual(found.sent_at, found.created_at + timedelta(milliseconds=377))
        self.assertEqual(found.notified_at, datetime(2026, 4, 8, 10, 30, 2, tzinfo=timezone.utc))
        self.assertEqual(found.created_at.microsecond, 123_000)
        with self.assertRaises(AttributeError):
            found.stage = "read"  # type: ignore[misc]

    def test_a_broken_answer_names_the_field(self) -> None:
        for broken in ({}, {"id": 5}, {"id": "i", "seq": True}, {"id": "i", "seq": "1"}):
            with self.assertRaises(SLMMeshError) as caught:
                Message.from_json(broken)
            self.assertEqual(caught.exception.code, "protocol_error")
            self.assertRegex(caught.exception.message, "`(id|seq|fromPeer)`")

    def test_a_sender_is_told_what_became_of_it(self) -> None:
        one = Sent.from_json({"messageId": "i", "delivered": False, "pushed": True})
        self.assertEqual((one.handle, one.damped, one.damped_reason), (None, False, None))
        told = {"handle": "k7q2", "damped": True, "dampedReason": "too often"}
        for obj in (
            {"messageId": "i", "delivered": False, "pushed": True},
            {"messageIds": ["i"], "recipients": 2, "delivered": 0, "pushed": 2},
        ):
            sent = Sent.from_json({**obj, **told})
            self.assertEqual(
                (sent.message_id, sent.handle, sent.damped, sent.damped_reason),
                ("i", "k7q2", True, "too often"),
            )

    def test_pushed_events_have_one_form(self) -> None:
        at = "2026-04-08T10:30:01.123Z"
        custom = {"payload": {"eventType": "build.done", "seq": 3, "data": [1]}, "timestamp": at}
        self.assertEqual(MeshEvent.from_frame(custom).payload, [1])
        own = {"payload": {"eventType": "peer_left", "seq": 4, "name": "x"}, "timestamp": at}
        self.assertEqual(MeshEvent.from_frame(own).payload, {"name": "x"})


class Places(unittest.TestCase):
    def test_only_this_machine_is_asked(self) -> None:
        for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
            self.assertEqual(loopback_host(host), host)
        for host in ("0.0.0.0", "10.0.0.1", "example.com", ""):
            with self.assertRaises(SLMMeshError):
                loopback_host(host)

    def test_a_repository_is_found_from_below_and_from_a_work_tree(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            root = Path(os.path.realpath(name))
            git = root / "repo/.git"
            tree = git / "worktrees/t"
            tree.mkdir(parents=True)
            (root / "repo/src").mkdir()
            (git / "HEAD").write_text("ref: refs/heads/topic/x\n")
            (tree / "HEAD").write_text("0123456789\n")
            (tree / "commondir").write_text("../..\n")
            (root / "tree").mkdir()
            (root / "tree/.git").write_text(f"gitdir: {tree}\n")
            found = look_at_project(root / "repo/src")
            self.assertEqual(found.path, str(root / "repo/src"))
            self.assertEqual((found.git_root, found.git_branch), (str(root / "repo"), "topic/x"))
            other = look_at_project(root / "tree")
            self.assertEqual((other.git_root, other.git_branch), (str(root / "tree"), None))
            self.assertEqual({found.repo_id, other.repo_id}, {str(git)})
            self.assertIsNone(found.repo_hash)
            remote = '[remote "origin"]\n\turl = git@github.com:owner/repo.git\n'
            (git / "config").write_text(remote)
            # printf github.com/owner/repo | sha256sum
            known = "620c3a937ce854b7477cb2104a95692bbb64e64a90184e0d37d48ddfc20ec6f8"
            for directory in ("repo/src", "tree"):
                self.assertEqual(look_at_project(root / directory).repo_hash, known)

    def test_all_ways_to_write_an_address_give_one_name(self) -> None:
        # Those of `agent::remote` in the program, which has to make the same of them.
        for url in (
            "https://github.com/owner/repo.git/",
            "https://GitHub.COM:443//owner/repo?x=1#y",
            "https://user:p%40ss@github.com./owner/re%70o",
            "ssh://git@github.com:22/owner/repo.git",
            "git@github.com:/owner/repo.git",
            "[git@github.com:22]:owner/repo",
        ):
            self.assertEqual(normal_form(url), "github.com/owner/repo", url)
        for url, normal in (
            ("http://github.com:443/owner/repo", "github.com:443/owner/repo"),
            ("https://github.com/owner/my%20repo%", "github.com/owner/my repo%"),
            ("ssh://[2001:DB8::1]:23/x", "[2001:db8::1]:23/x"),
            ("git@server:a:b", "server/a:b"),
        ):
            self.assertEqual(normal_form(url), normal, url)
        for url in (
            "",
            "/srv/repo.git",
            "./a:b",
            "file://server/srv/repo.git",
            "C:/repo",
            "ext::ssh server %S /repo",
            "https://git.localhost/x",
            "ssh://127.1/x",
            "ssh://2130706433/x",
            "ssh://[::ffff:127.0.0.1]/x",
            "https://github.com/.git",
            "https://github.com:70000/y",
        ):
            self.assertIsNone(normal_form(url), url)

    def test_the_remote_is_read_as_git_reads_it(self) -> None:
        def hashed(normal: str) -> str:
            return hashlib.sha256(normal.encode()).hexdigest()

        only = '[remote "b"]\n\turl = host:b ; where it is\n'
        self.assertEqual(remote_hash(only), hashed("host/b"))
        self.assertEqual(remote_hash(only + '[REMOTE "origin"]\nURL="host:a"'), hashed("host/a"))
        self.assertEqual(remote_hash(only + '[url "https://x/"]\ninsteadOf = host:'), hashed("x/b"))
        self.assertIsNone(remote_hash(only + '[remote "c"]\nurl = host:c'))
        self.assertEqual(remote_hash(only + '[remote "c"]\nurl = host:c\nurl ='), hashed("host/b"))
        for bad in ("url = host:a", "[a", '[a]\nb = "c', "[a]\nb = \\q", "[a]\n1=1"):
            self.assertIsNone(remote_hash(only + bad + "\n" if bad[0] == "[" else bad), bad)


if __name__ == "__main__":
    unittest.main()
