"""Brings the jars of pom.xml into the cache once, and checks each against checksums.sha256."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from process import Failure

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
CHECKSUMS = HERE / "checksums.sha256"
REGISTRY_TARBALL = "registry/apicurio-registry-app.tar.gz"


def say(text: str) -> None:
    print(f"stack: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path: Path):
    """Holds an exclusive lock on `path`, waiting for another holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cache() -> Path:
    """Shared between checkouts on purpose: what it holds is keyed by content."""
    named = os.environ.get("SENDPLANE_CACHE")
    if named:
        return Path(named).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sendplane"


def fetch() -> Path:
    """The folder with `kafka/*.jar` and `registry/*-runner.jar`, downloaded if need be."""
    key = hashlib.sha256(POM.read_bytes() + CHECKSUMS.read_bytes()).hexdigest()[:16]
    home = cache() / "stack" / key
    if home.is_dir():
        return home
    with locked(cache() / "stack" / "lock"):
        if home.is_dir():
            return home
        say(f"fetching Kafka and the registry into {home}: 165 MB, about half a minute")
        partial = home.with_suffix(".partial")
        _download(partial)
        _verify(partial)
        _unpack_registry(partial)
        # The rename is the stamp: a folder under its final name is complete.
        partial.rename(home)
    return home


def update_checksums() -> None:
    """Writes checksums.sha256 anew from what the POM resolves to."""
    partial = cache() / "stack" / "checksums.partial"
    with locked(cache() / "stack" / "lock"):
        _download(partial)
        lines = [f"{digest}  {name}\n" for name, digest in sorted(_digests(partial).items())]
        shutil.rmtree(partial)
    CHECKSUMS.write_text("".join(lines))
    say(f"wrote {CHECKSUMS} with {len(lines)} files; review the difference")


def _download(target: Path) -> None:
    if shutil.which("mvn") is None:
        raise Failure("mvn is missing; run `deploy/stack/stack install`")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    command = ["mvn", "-B", "-ntp", "-q", "-f", str(POM)]
    command += [f"-Dstack.dir={target}", "generate-resources"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )
    if done.returncode != 0:
        raise Failure(f"mvn could not fetch the stack:\n{done.stdout[-3000:]}")


def _digests(home: Path) -> dict[str, str]:
    files = [path for path in home.rglob("*") if path.is_file()]
    return {str(path.relative_to(home)): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _verify(home: Path) -> None:
    lines = (line.split(maxsplit=1) for line in CHECKSUMS.read_text().splitlines() if line)
    expected = {name: digest for digest, name in lines}
    found = _digests(home)
    wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if wrong:
        names = ", ".join(wrong)
        raise Failure(f"checksums differ from {CHECKSUMS.name}, nothing was installed: {names}")


def _unpack_registry(home: Path) -> None:
    tarball = home / REGISTRY_TARBALL
    with tarfile.open(tarball) as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tarball.parent, **safe)
    tarball.unlink()
    runner_jar(home)


def runner_jar(home: Path) -> Path:
    jars = list((home / "registry").glob("*-runner.jar"))
    if len(jars) != 1:
        raise Failure(f"one runner jar expected in {home}/registry, found {len(jars)}")
    return jars[0]
