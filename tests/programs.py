"""Scripts as processes of their own, without the seconds that their imports take.

A server has imported what scripts import, and forks for each of them; what a script does while it imports is for tests
that start Python anew. As a program this file is the server: a line of JSON is a script, its words and its environment.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


@cache
def server() -> subprocess.Popen:
    """The one server of a process of tests; it ends with that process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, __file__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True, env=environment, start_new_session=True)


class Program:
    """A script that runs: what is used here of subprocess.Popen. What it says, on either stream, is kept."""

    def __init__(self, script: Path, *words: str, cwd: Path = ROOT, env: dict[str, str] | None = None):
        """Start it. env: environment variables beside those that are set."""
        self._folder = tempfile.TemporaryDirectory()
        self._said, self._status = Path(self._folder.name) / "said", Path(self._folder.name) / "status"
        job = {"words": [str(script), *words], "cwd": str(cwd), "env": os.environ | (env or {})}
        server().stdin.write(json.dumps(job | {"said": str(self._said), "status": str(self._status)}) + "\n")
        server().stdin.flush()
        self.pid = int(server().stdout.readline())

    @property
    def returncode(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        return int(self._status.read_text()) if self._status.exists() else None

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit status, once it has ended. timeout: in seconds."""
        deadline = time.monotonic() + timeout
        while self.returncode is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self._said.read_text()}"
            time.sleep(0.01)
        return self.returncode

    def communicate(self, timeout: float = 600) -> tuple[str, None]:
        """What it said until it ended."""
        self.wait(timeout)
        return self._said.read_text(), None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def become(job: dict[str, Any]) -> NoReturn:
    """Be the script of a job, with the streams, the signals and the environment of a program that a shell has started."""
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    said = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
        os.dup2(file, stream)
    sys.stdin = open(0)  # noqa: SIM115  # as long as the program lives
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    sys.argv, sys.path[0] = job["words"], str(Path(job["words"][0]).parent)
    runpy.run_path(job["words"][0], run_name="__main__")
    sys.exit(0)


def serve() -> None:
    """Fork for each job: a process that waits for the program and writes down its exit status, and the program.

    What cleans up after itself when a program ends, as wandb does, is not imported before.
    """
    import torch._dynamo  # noqa: F401  # an optimiser imports it

    import start_sweep  # noqa: F401  # and train.py with it
    import sweeps.optuna_backend  # noqa: F401
    import sweeps.wandb_backend  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait are not waited for
    for line in sys.stdin:
        job = json.loads(line)
        if os.fork():
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        program = os.fork()
        if not program:
            become(job)
        print(program, flush=True)
        status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
        unfinished = Path(job["status"]).with_suffix(".tmp")
        unfinished.write_text(str(status))
        unfinished.rename(job["status"])
        os._exit(0)
    os.killpg(0, signal.SIGKILL)  # what still runs where the tests have ended


if __name__ == "__main__":
    serve()
