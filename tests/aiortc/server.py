"""The real server, in a folder of its own, tokens for it, and HTTP. Nothing but the standard library."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("EVENKEEL_BIN", ROOT / "target/debug/evenkeel")).resolve()
PATIENCE = 30.0  # longer than anything here may take on a loaded machine


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """Started with `with`; its process is ended with it."""

    def __init__(self, more="", media=""):
        self.more, self.media = more, media

    def __enter__(self):
        assert BINARY.exists(), f"there is no {BINARY}: build it, or set EVENKEEL_BIN"
        self.folder = tempfile.TemporaryDirectory(prefix="evenkeel-media-")
        folder = Path(self.folder.name)
        self.port = free_port()
        self.secret = secrets.token_bytes(32)
        (folder / "key").write_text(self.secret.hex())
        (folder / "evenkeel.toml").write_text(f"""
[server]
listen = "127.0.0.1:{self.port}"
[store]
path = "{folder}/data"
[session]
default_backend = "passthrough"
[media]
listen = "127.0.0.1:0"
{self.media}
[[auth.keys]]
kid = "test"
alg = "HS256"
file = "{folder}/key"
[backends.passthrough]
kind = "passthrough"
[backends.room]
kind = "room"
{self.more}
""")
        env = {name: value for name, value in os.environ.items() if not name.startswith("EVENKEEL_")}
        self.log = open(folder / "server.log", "ab")
        command = [str(BINARY), "serve", "--config", str(folder / "evenkeel.toml")]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=folder, env=env)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if self.request("GET", "/healthz")[0] == 200:
                    return self
            except OSError:
                pass
            alive = self.process.poll() is None and time.monotonic() < end
            assert alive, f"the server does not answer:\n{(folder / 'server.log').read_text()}"
            time.sleep(0.05)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def token(self, subject="ann", role="owner", session=None, admin=False):
        def text(value):
            return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

        claims = {"sub": subject, "aud": "evenkeel", "role": role, "exp": int(time.time()) + 3600}
        if session:
            claims["session"] = session
        if admin:
            claims["admin"] = True
        head = text({"alg": "HS256", "typ": "JWT", "kid": "test"}) + b"." + text(claims)
        mac = hmac.new(self.secret, head, hashlib.sha256).digest()
        return (head + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()

    def request(self, method, path, body=None, **headers):
        """Status, headers with small names, and the body as text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, answer.read().decode()
        finally:
            connection.close()

    def post_offer(self, path, token, sdp):
        """The answer of WHIP or WHEP, where the resource is, and its entity tag."""
        status, headers, body = self.request(
            "POST", path, sdp, authorization=f"Bearer {token}", content_type="application/sdp"
        )
        assert status == 201, (status, body)
        return body, headers["location"], headers["etag"]
