#!/usr/bin/env python3
"""Makes the client for threads, ``_client.py``, from the one for asyncio; with ``--check`` says by
its exit code whether it is as it would be made."""

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "src" / "slm_mesh"
HEAD = '''"""The client for threads. Made from ``_async_client.py``, which is the one to change, by
``python/generate.py``."""
'''
WORDS = {
    r"\basync (?=def |for |with )": "",
    r"\bawait ": "",
    r"__a(enter|exit)__": r"__\1__",
    r"\b_async_": "_",
    # But where the documentation speaks of both.
    r"(?<!An :class:`)\bAsync(?=[A-Z])": "",
}


def for_threads(source: str) -> str:
    """The source without asyncio."""
    text = source.split('"""\n', 1)[1]
    for pattern, replacement in WORDS.items():
        text = re.sub(pattern, replacement, text)
    return HEAD + text


def main() -> int:
    """Writes the file, or compares it."""
    made = for_threads((PACKAGE / "_async_client.py").read_text())
    client = PACKAGE / "_client.py"
    if sys.argv[1:] == ["--check"]:
        return int(client.read_text() != made)
    client.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
