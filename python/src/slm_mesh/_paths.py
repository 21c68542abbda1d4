"""What a path means that is to be locked, whoever writes it and however.

The rules are those of the command line and the MCP server: what is there by its literal name is
meant by it; other notations are understood where they mean one file, and refused where a lock would
guard nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

_SEARCHED_MAX = 10_000
_SKIPPED = {".git", "node_modules"}
_REPO = "repo:"
_MEANING = re.compile(r"[*?\\]")
_PLACE = re.compile(r"(?:#L\d+(?:-L?\d+)?|(?::\d+(?:-\d+)?){1,2})$")
_EXTENSION = re.compile(r"[^/]\.[A-Za-z0-9]+$")


def lock_path(path: str | os.PathLike[str]) -> str:
    """What a lock on ``path`` is about: links followed up to the first wildcard, and an existing
    directory is everything in it. A path object is one file or directory, whatever its name."""
    if not isinstance(path, str):
        return _spelled(escape(os.fspath(path)))
    if path.startswith(_REPO) and path != _REPO:
        return _REPO + _understand(_repository(), path[len(_REPO) :])
    return _spelled(_understand(os.getcwd(), path))


def locked_path(path: str | os.PathLike[str]) -> str:
    """The same for what may be locked already: it may have gone since."""
    try:
        return lock_path(path)
    except ValueError:
        text = os.fspath(path)
        return text if text.startswith(_REPO) else _spelled(text)


def _understand(base: str, text: str) -> str:
    readings: list[Callable[[str, str], str | None]] = [_unquoted, _url, _home, _mention, _place]
    for reading in readings:
        if _is_there(base, text):
            return escape(text)
        read = reading(base, text)
        text = text if read is None else read
    if not text:
        raise ValueError("it is empty; `.` is the directory you are in")
    if _is_there(base, text):
        return escape(text)
    if text.startswith("!"):
        raise ValueError("nothing can be left out with `!`: lock what is meant")
    if _is_list(base, text):
        raise ValueError("it is a list: lock each path by itself")
    _check_names(base, text)
    return text


def _spelled(text: str) -> str:
    head, rest = _split_head(text)
    real = os.path.realpath(head or ".")
    if not rest and (head.endswith("/") or os.path.isdir(real)):
        rest = "**"
    return escape(real) + ("/" if rest and real != "/" else "") + rest


def _split_head(text: str) -> tuple[str, str]:
    """Cut before the first name with a wildcard; the head is without its backslashes."""
    head: list[str] = []
    parts = re.findall(r"[^/]*/|[^/]+$", text)
    for at, part in enumerate(parts):
        if re.search(r"[*?]", re.sub(r"\\[*?\\]", "", part)):
            return "".join(head), "".join(parts[at:])
        head.append(re.sub(r"\\([*?\\])", r"\1", part))
    return "".join(head), ""


def escape(text: str) -> str:
    """A text in which no character is a wildcard."""
    return _MEANING.sub(r"\\\g<0>", text)


def _repository() -> str:
    here = Path.cwd()
    return str(next((up for up in (here, *here.parents) if (up / ".git").exists()), here))


def _is_there(base: str, text: str) -> bool:
    # With a wildcard it is a pattern, whatever is there.
    if not text or "\0" in text or "*" in text or "?" in text:
        return False
    return os.path.lexists(os.path.join(base, text))


def _unquoted(_: str, text: str) -> str:
    text = text.strip()
    for quote in "`\"'":
        inside = text[1:-1]
        if len(text) > 1 and text[0] == text[-1] == quote and quote not in inside:
            return inside.strip()
    return text


def _url(_: str, text: str) -> str | None:
    scheme, mark, rest = text.partition("://")
    if not mark or not re.fullmatch(r"[A-Za-z0-9-]+", scheme):
        return None
    if scheme.lower() != "file":
        raise ValueError("it is a URL: lock a file by its path")
    path = rest.removeprefix("localhost")
    if not path.startswith("/"):
        raise ValueError("it is a file of another machine: write its path")
    # What is written with a percent sign has no meaning of its own.
    return re.sub(r"(?:%[0-9A-Fa-f]{2})+", lambda some: escape(unquote(some.group())), path)


def _home(base: str, text: str) -> str | None:
    first, _, rest = text.partition("/")
    if not first.startswith(("~", "$")) or _is_there(base, first):
        return None
    if first not in ("~", "$HOME", "${HOME}"):
        if not rest and "{" not in first:
            return None
        raise ValueError(f"{first} is not expanded here, and nothing is named so: write the path")
    home = os.environ.get("HOME", "")
    if not home.startswith("/"):
        raise ValueError("HOME is not set to a path: write the path from `/`")
    return escape(home.rstrip("/")) + "/" + rest


def _mention(base: str, text: str) -> str | None:
    if not text.startswith("@") or _is_there(base, text.partition("/")[0]):
        return None
    rest = _unquoted(base, text[1:])
    absolute = rest.startswith("/") and os.path.isdir(os.path.dirname(rest))
    return rest if absolute or _is_there(base, rest.partition("/")[0]) else None


def _place(base: str, text: str) -> str | None:
    path = _PLACE.sub("", text)
    # `port:3000` is a name like any other.
    is_file = _is_there(base, path) or _EXTENSION.search(path)
    return path if path != text and is_file else None


def _is_list(base: str, text: str) -> bool:
    parts = re.split(r"[\s,;]+", text.strip(" \t\n,;"))
    directory = text.rpartition("/")[0]
    return (
        len(parts) > 1
        and "{" not in text
        and all("*" in it or _EXTENSION.search(it) or _is_there(base, it) for it in parts)
        and not (re.search(r"[\s,;]", directory) and _is_there(base, directory))
    )


def _foreign(name: str, beside_wildcard: bool) -> str | None:
    braces = re.search(r"\{([^}]+)\}", name)
    if braces and ("," in braces[1] or ".." in braces[1] or "${" in name):
        return f"`{braces[0]}` is not expanded: lock each path by itself, or use `*`"
    choice = re.search(r"\(([^)]+)\)", name)
    if choice and "|" in choice[1]:
        return f"`{choice[0]}` has no meaning: lock each path by itself, or use `*`"
    brackets = re.search(r"\[([^\]]+)\]", name)
    if brackets and beside_wildcard:
        return (
            f"`{brackets[0]}` is no set of characters but stands for itself, and nothing is named "
            "so: use `?` or `*`, or lock the directory"
        )
    return None


def _check_names(base: str, text: str) -> None:
    beside_wildcard = "*" in text or "?" in text
    at, behind = base if not text.startswith("/") else "/", False
    for name in filter(None, text.split("/")):
        is_wild = "*" in name or "?" in name
        words = _foreign(name, beside_wildcard)
        if words is not None:
            found = (
                _is_below(at, name, behind)
                if is_wild or behind
                else os.path.lexists(os.path.join(at, name))
            )
            if not found:
                raise ValueError(words)
        behind = behind or is_wild
        if not behind:
            at = os.path.join(at, name)


def _is_below(top: str, name: str, deep: bool) -> bool:
    """Whether a name of this form is in ``top``, or with ``deep`` anywhere below it."""
    wild = {"*": ".*", "?": "."}
    form = re.compile("".join(wild.get(c, re.escape(c)) for c in name), re.DOTALL)
    seen = 0
    for _, directories, files in os.walk(top):
        for entry in (*directories, *files):
            seen += 1
            if form.fullmatch(entry):
                return True
        if not deep or seen >= _SEARCHED_MAX:
            return False
        directories[:] = [it for it in directories if it not in _SKIPPED]
    return False
