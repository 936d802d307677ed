"""Plans whose steps are small Python programs, for the worker and the sender."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from stair.submit.plan import Plan, Step

TRAINER = """
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
wanted = []
signal.signal(signal.SIGTERM, lambda *_: wanted.append(1))
state = folder / "state"
first = int(state.read_text()) if state.exists() else 0
for n in range(first, 60):
    print(f"step {n} of 60", flush=True)
    if wanted:
        state.write_text(str(n))
        print("saved", flush=True)
        sys.exit(75)
    time.sleep(0.03)
print("trained from", first)
"""

SERVER = """
import http.server, sys, threading, time
from pathlib import Path
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
Path(sys.argv[1]).write_text(f"ws://127.0.0.1:{server.server_port}")
if len(sys.argv) > 2:
    def die():
        time.sleep(float(sys.argv[2]))
        print("error: out of memory", flush=True)
        __import__("os")._exit(9)
    threading.Thread(target=die).start()
server.serve_forever()
"""


def script(code: str, *words: object) -> tuple[str, ...]:
    """The argv of a small program."""
    return (sys.executable, "-c", code, *map(str, words))


def a_step(run: Path, name: str, code: str, *words: object, server: tuple[str, ...] = (), **settings) -> Step:
    """A step of `code`, called with its folder and `words`."""
    folder = run / name
    return Step(
        name=name,
        kind="train",
        folder=str(folder),
        argv=script(code, folder, *words),
        server=server,
        server_timeout_s=60.0,
        settings={"train": settings},
        environment={"PYTHONUNBUFFERED": "1"},
        needs=(),
        nodes=1,
        processes=1,
        hours=1.0,
    )


def a_plan(run: Path, *steps: Step) -> Plan:
    """A plan for this machine."""
    return Plan(
        recipe="scripted",
        cluster="local",
        executor="local",
        run=str(run),
        cwd=str(run.parent),
        gpus_per_node=None,
        grace_s=30.0,
        keep=(),
        steps=steps,
    )


def wait_for_line(path: Path, text: str, seconds: float = 60.0) -> None:
    """Waits until a file says `text`."""
    deadline = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"no '{text}' in {path}"
        time.sleep(0.02)
