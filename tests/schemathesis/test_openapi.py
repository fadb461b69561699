"""Schemathesis against a real server: the document at /openapi.json holds, whatever is sent."""

import os
import subprocess
import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "aiortc"))
from server import Server  # noqa: E402

# So many requests of each operation in each phase; the whole takes about a minute.
EXAMPLES = os.environ.get("EVENKEEL_SCHEMATHESIS_EXAMPLES", "20")
WITHIN = 600


class Document(unittest.TestCase):
    def test_the_document_holds_whatever_is_sent(self):
        more = """
[backends.echo]
kind = "echo"
"""
        with Server(more) as server:
            base = f"http://127.0.0.1:{server.port}"
            env = dict(os.environ, BASE_URL=base, TOKEN=server.token("root", admin=True))
            env.update(SCHEMATHESIS_HOOKS="hooks", PYTHONPATH=str(HERE))
            st = Path(sys.executable).parent / "st"
            command = [str(st), "--config-file", str(HERE / "schemathesis.toml"), "run"]
            command += [f"{base}/openapi.json", "--header", f"Authorization: Bearer {env['TOKEN']}"]
            command += ["--max-examples", EXAMPLES, "--workers", "1", "--no-color"]
            began = time.monotonic()
            done = subprocess.run(command, env=env, cwd=server.folder.name, timeout=WITHIN)
            print(f"schemathesis: {time.monotonic() - began:.0f} s")
            self.assertEqual(done.returncode, 0, "see above for what it found")
            self.assertIsNone(server.process.poll(), "the server lives")


if __name__ == "__main__":
    unittest.main()
