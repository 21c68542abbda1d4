"""A registry for npm on the loopback address that has the packages of one folder and no others.

python3 npm_registry.py <folder>

Prints its port, and serves until its standard input ends.
"""

import base64
import hashlib
import json
import sys
import tarfile
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

folder = Path(sys.argv[1])


class Handler(BaseHTTPRequestHandler):
    """Answers for a package with its versions, and for a file with the file."""

    def do_GET(self) -> None:
        name = unquote(self.path).strip("/")
        if name in packages:
            self.reply(json.dumps(packages[name]).encode())
        elif name.endswith(".tgz") and "/" not in name:
            self.reply((folder / name).read_bytes())
        else:
            self.send_error(404)

    def reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
packages: dict[str, dict] = defaultdict(dict)
for file in folder.glob("*.tgz"):
    with tarfile.open(file) as package:
        manifest = json.load(package.extractfile("package/package.json"))
    digest = base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    tarball = f"http://127.0.0.1:{server.server_port}/{file.name}"
    manifest["dist"] = {"tarball": tarball, "integrity": f"sha512-{digest}"}
    version = manifest["version"]
    packages[manifest["name"]] = {
        "name": manifest["name"],
        "dist-tags": {"latest": version},
        "versions": {version: manifest},
    }
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
