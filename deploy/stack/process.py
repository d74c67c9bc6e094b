"""Children of the stack, known by pid and start time, so that no other is ever signalled."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from readiness import NOT_READY

POLL_SECONDS = 0.1


class Failure(Exception):
    """What a command reports to its caller before it leaves with exit code 1."""


def fingerprint(pid: int) -> str | None:
    """The start time of a live process, or None when it is gone or only waits to be reaped."""
    if sys.platform.startswith("linux"):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # The command name is in parentheses and may itself contain spaces.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    listed = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(listed) < 2 or listed[0].startswith("Z") else listed[1].strip()


class Process:
    """One child of the stack: a home folder with `pid` and `console.log`."""

    def __init__(self, name: str, home: Path):
        self.name = name
        self.home = home
        self.log = home / "console.log"
        self.pid_file = home / "pid"

    def pid(self) -> int | None:
        """The pid if, and only if, the process that `start` started still runs."""
        try:
            record = json.loads(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        return record["pid"] if fingerprint(record["pid"]) == record["start"] else None

    def start(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            # So that the log shown after a failed start is the log of that start.
            self.log.replace(self.home / "console.previous.log")
        with self.log.open("wb") as log:
            child = subprocess.Popen(
                command,
                cwd=self.home,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = json.dumps({"pid": child.pid, "start": fingerprint(child.pid)})
        temporary = self.pid_file.with_suffix(".tmp")
        temporary.write_text(record)
        temporary.replace(self.pid_file)

    def terminate(self) -> None:
        """Asks the process to end and does not wait for it."""
        pid = self.pid()
        if pid is not None:
            self._signal(pid, signal.SIGTERM)

    def stop(self, grace_seconds: float, kill: bool = False) -> str:
        """Ends the process: SIGTERM, then SIGKILL when the grace time is over."""
        pid = self.pid()
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            return "was not running"
        if not kill:
            self._signal(pid, signal.SIGTERM)
            if self._gone_within(grace_seconds):
                return "stopped"
        self._signal(pid, signal.SIGKILL)
        if not self._gone_within(10):
            raise Failure(f"{self.name}: pid {pid} survived SIGKILL")
        return "killed"

    def _signal(self, pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        self.pid_file.unlink(missing_ok=True)
        return True

    def log_text(self) -> str:
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return "(no log)"

    def excerpt(self) -> str:
        """The first complaints and the end: a broker that fails also logs its whole shutdown."""
        lines = self.log_text().splitlines()
        complaint = re.compile(r"\bERROR\b|\bFATAL\b|Exception|Caused by|^Error")
        complaints = [line for line in lines[:-10] if complaint.search(line)][:10]
        return "\n".join(f"    {line[:300]}" for line in [*complaints, "...", *lines[-10:]])

    def wait_ready(self, probe, deadline: float) -> None:
        """Repeats `probe` until it returns; it raises one of NOT_READY until then."""
        while True:
            try:
                return probe()
            except NOT_READY as error:
                reason = error
            if self.pid() is None:
                said = f"{self.log} says\n{self.excerpt()}"
                raise Failure(f"{self.name} ended while starting; {said}")
            if time.monotonic() > deadline:
                said = f"{self.log} says\n{self.excerpt()}"
                raise Failure(f"{self.name} is not ready in time ({reason}); {said}")
            time.sleep(POLL_SECONDS)
