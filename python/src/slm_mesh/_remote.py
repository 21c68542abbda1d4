"""The name by which clones of a repository on several machines know each other: the SHA-256 of the
remote they were cloned from. The program makes the same (``agent::remote``): scheme, user,
password, query, fragment, the usual port and ``.git`` do not count, nor does the case of the host.
Only the repository's own ``config`` is read."""

from __future__ import annotations

import hashlib
import ipaddress
import re

#: The port that need not be named.
_USUAL_PORTS = {
    "ssh": 22,
    "git+ssh": 22,
    "ssh+git": 22,
    "git": 9418,
    "http": 80,
    "https": 443,
    "ftp": 21,
    "ftps": 990,
}
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", '"': '"', "\\": "\\"}


class _Malformed(Exception):
    """What git would not read either."""


def remote_hash(config: str) -> str | None:
    """The hash for a repository with this ``config``: of its remote ``origin``, else of the only
    one it has. ``None`` if that is no address for others: no remote or several, a path, a loopback
    address; or if the file is none that git would read."""
    try:
        url = _remote_url(config)
        normal = None if url is None else normal_form(url)
    except _Malformed:
        return None
    return None if normal is None else hashlib.sha256(normal.encode()).hexdigest()


def _remote_url(config: str) -> str | None:
    all_urls: dict[str, list[str]] = {}
    rewrites: list[tuple[str, str]] = []
    for section, subsection, key, value in _entries(config):
        if (section, key) == ("remote", "url"):
            urls = all_urls.setdefault(subsection, [])
            # An empty one takes back those before it: git-config(1).
            if value:
                urls.append(value)
            else:
                urls.clear()
        elif (section, key) == ("url", "insteadof"):
            rewrites.append((value, subsection))
    first = {name: urls[0] for name, urls in all_urls.items() if urls}
    url = first.get("origin")
    if url is None:
        if len(first) != 1:
            return None
        (url,) = first.values()
    fitting = [rewrite for rewrite in rewrites if url.startswith(rewrite[0])]
    if not fitting:
        return url
    # The longest that fits: git-config(1).
    prefix, base = max(fitting, key=lambda rewrite: len(rewrite[0]))
    return base + url[len(prefix) :]


def normal_form(url: str) -> str | None:
    """``host/path`` or ``host:port/path`` of a remote: the same for all ways to write it. ``None``
    if it is not on another machine."""
    scheme, separator, rest = url.partition("://")
    if separator:
        if not re.fullmatch(r"[A-Za-z0-9+.-]+", scheme) or scheme.lower() == "file":
            return None
        scheme = scheme.lower()
        authority, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
        if not slash:
            return None
        path = _percent_decoded(path)
    else:
        # As scp writes it: `user@host:path`, with nothing like a path before the colon.
        scheme = "ssh"
        end, slash_at = url.rfind("]:"), url.find("/")
        if end >= 0 and (slash_at < 0 or end < slash_at):
            authority, path = url[: end + 1], url[end + 2 :]
        else:
            authority, colon, path = url.partition(":")
            if not colon or "/" in authority:
                return None
        # `helper::address`, and a drive of Windows.
        if path.startswith(":") or len(authority.encode()) == 1:
            return None
    found = _host_and_port(authority)
    if found is None or _is_of_this_machine(found[0]):
        return None
    host, port = found
    if port and _USUAL_PORTS.get(scheme) != port:
        host += f":{port}"
    parts = [part for part in path.rstrip("/").removesuffix(".git").split("/") if part]
    return "/".join([host, *parts]) if parts else None


def _host_and_port(authority: str) -> tuple[str, int] | None:
    """The host in lower case, an IPv6 address in brackets, and the port; 0 if none is named."""
    # Brackets around all of it: `[user@host:port]`, as scp needs them for the port.
    if authority.startswith("[") and authority.endswith("]"):
        inner = authority[1:-1]
        if _ipv6(inner) is None:
            authority = inner
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        text, bracket, rest = authority[1:].partition("]")
        address = _ipv6(text)
        if not bracket or address is None:
            return None
        host = f"[{address}]"
    else:
        host, colon, rest = authority.partition(":")
        host, rest = host.removesuffix(".").lower(), colon + rest
    port = _port_of(rest)
    return None if not host or port is None else (host, port)


def _ipv6(text: str) -> ipaddress.IPv6Address | None:
    try:
        # With a zone it names an interface of this machine.
        return None if "%" in text else ipaddress.IPv6Address(text)
    except ValueError:
        return None


def _port_of(text: str) -> int | None:
    """The port in ``:443``; 0 in nothing and in a colon alone, as no port is called."""
    if text in ("", ":"):
        return 0
    match = re.fullmatch(r":\+?([0-9]+)", text)
    port = int(match.group(1)) if match else None
    return port if port is not None and port <= 65535 else None


def _is_of_this_machine(host: str) -> bool:
    """Whether each machine calls itself so."""
    if host.startswith("["):
        address = _ipv6(host[1:-1])
        if address is None:
            return True
        mapped = address.ipv4_mapped
        return address.is_loopback or address.is_unspecified or bool(mapped and mapped.is_loopback)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    # `127.1` and `2130706433` are that too (inet_aton(3)), and other short forms nobody writes.
    if not re.fullmatch(r"[0-9.]*", host):
        return False
    try:
        return host.startswith("127.") or ipaddress.IPv4Address(host).is_unspecified
    except ValueError:
        return True


def _percent_decoded(text: str) -> str:
    """The text with ``%20`` and its like decoded; as it was if that is no UTF-8."""
    decoded = re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match.group(1).decode()), text.encode()
    )
    try:
        return decoded.decode()
    except UnicodeDecodeError:
        return text


def _entries(text: str) -> list[tuple[str, str, str, str]]:
    """Section and name in lower case, the part in quotes between them, and the value of each
    variable, as git-config(1) says under "Syntax"."""
    found = []
    section = subsection = ""
    rest = text.removeprefix("\ufeff").lstrip()
    while rest:
        if rest[0] in "#;":
            rest = rest.partition("\n")[2]
        elif rest[0] == "[":
            section, subsection, rest = _header(rest[1:])
        else:
            match = re.match(r"[A-Za-z][A-Za-z0-9-]*", rest)
            if not section or match is None:
                raise _Malformed
            key, rest = match.group().lower(), rest[match.end() :].lstrip(" \t\r")
            value = ""
            if rest.startswith("="):
                value, rest = _value(rest[1:])
            elif rest and rest[0] not in "\n#;":
                raise _Malformed
            found.append((section, subsection, key, value))
        rest = rest.lstrip()
    return found


def _header(text: str) -> tuple[str, str, str]:
    """Section and subsection of a header, and what follows it."""
    match = re.match(r"[A-Za-z0-9.-]*", text)
    name, rest = (match.group() if match else "").lower(), text[match.end() if match else 0 :]
    if rest.startswith("]"):
        # `[section.subsection]`, as it was written long ago.
        section, _, subsection = name.partition(".")
        return section, subsection, rest[1:]
    match = re.match(r'[ \t]*"((?:[^"\\\n]|\\[^\n])*)"\]', rest)
    if match is None:
        raise _Malformed
    return name, re.sub(r"\\(.)", r"\1", match.group(1)), rest[match.end() :]


def _value(text: str) -> tuple[str, str]:
    """The value that ``text`` begins with, and what follows its line."""
    value, end = "", 0  # Where it ends if only blanks follow that are in no quotes.
    quoted = comment = False
    chars = iter(enumerate(text))
    for at, char in chars:
        if char == "\n":
            if quoted:
                raise _Malformed
            return value[:end], text[at + 1 :]
        if comment:
            continue
        if char in " \t\r" and not quoted:
            value += char if value else ""
            continue
        if char in "#;" and not quoted:
            comment = True
            continue
        if char == '"':
            quoted = not quoted
        elif char == "\\":
            escaped = next(chars, (0, ""))[1]
            if escaped == "\n":
                continue
            if escaped not in _ESCAPES:
                raise _Malformed
            value += _ESCAPES[escaped]
        else:
            value += char
        end = len(value)
    if quoted:
        raise _Malformed
    return value[:end], ""
