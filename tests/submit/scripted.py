"""Plans whose steps are small Python programs, for the worker and the sender."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from stair.rundir import write_json
from stair.submit.plan import Plan, Step

WAIT_S = 240.0
"""Longer than anything takes here, on however busy a machine."""

TRAINER = """
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
wanted, latest = [], time.monotonic() + 600
signal.signal(signal.SIGTERM, lambda *_: wanted.append(1))
state = folder / "state"
first = int(state.read_text()) if state.exists() else 0
for n in range(first, 60):
    print(f"step {n} of 60", flush=True)
    while n == 5 and not (first or wanted or time.monotonic() > latest):
        time.sleep(0.01)  # the first attempt is always told to leave: it must not be done by then
    if wanted:
        state.write_text(str(n))
        print("saved", flush=True)
        sys.exit(75)
    time.sleep(0.03)
print("trained from", first)
"""

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
print("deaf", flush=True)
while True:
    time.sleep(1)
"""
"""Hears that it is to leave, says so, and stays."""

SERVER = """
import http.server, sys, threading, time
from pathlib import Path
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
Path(sys.argv[1] + ".pid").write_text(str(__import__("os").getpid()))
Path(sys.argv[1]).write_text(f"ws://127.0.0.1:{server.server_port}")
if len(sys.argv) > 2:
    def die():
        while not Path(sys.argv[2]).exists():
            time.sleep(0.01)
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


def well(sheet: Path) -> None:
    """Leaves a fact sheet that finds nothing: no look is taken then, and what ails this machine just now, as
    a want of memory may, explains no ending."""
    write_json(sheet, {"findings": []})


def wait_for_line(path: Path, text: str, seconds: float = WAIT_S) -> None:
    """Waits until a file says `text`."""
    deadline = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text(errors="replace")):
        assert time.monotonic() < deadline, f"no '{text}' in {path}"
        time.sleep(0.02)


def processes_of(word: object) -> dict[int, str]:
    """Who lives and has that word in its command line: its number, and the line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(word) in line:
            found[int(path.parent.name)] = line
    return found
