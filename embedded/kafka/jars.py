"""The broker's jars: from Maven Central once, and checked against ``jars.sha256`` whenever they are used."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shadowlane.embedded.kafka.java import find_java
from shadowlane.errors import BrokerError

VERSION = "4.1.2"
HERE = Path(__file__).parent
POM = HERE / "pom.xml"
# maven-dependency-plugin, in the version of the pom, needs it.
_OLDEST_MAVEN = (3, 6, 3)
_FETCH_SECONDS = 900
_NOT_REACHED = re.compile(
    r"Could not transfer|Unknown host|Connection (refused|reset|timed out)|Network is unreachable"
)
# tests/conftest.py knows by it what a machine without the network may skip.
UNREACHABLE = "Maven Central can't be reached"


def checksums() -> dict[str, str]:
    """The SHA-256 of every jar, in hexadecimal, by file name."""
    pairs = (line.split() for line in (HERE / "jars.sha256").read_text(encoding="utf-8").splitlines())
    return {name: digest for digest, name in pairs}


def cache_directory() -> Path:
    """Where fetched jars stay, for every project of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "shadowlane" / "kafka" / VERSION


def jars(directory: Path | None = None) -> list[Path]:
    """Every jar of the broker, all as they are pinned. Fetches them where they are not there, or not right.

    ``directory`` keeps them; without one, ``cache_directory()``. Processes that ask at the same time
    fetch once.

    Raises BrokerError if Java or Maven is missing or too old, if Maven Central can't be reached, or if
    what came from it is not what is pinned.
    """
    directory = directory or cache_directory()
    pinned = checksums()
    try:
        with _locked(directory):
            if wrong_in(directory, pinned):
                with tempfile.TemporaryDirectory(dir=directory.parent, prefix="fetching-") as folder:
                    fetched = Path(folder) / "jars"
                    _fetch(fetched)
                    if wrong := wrong_in(fetched, pinned):
                        raise BrokerError(
                            f"what Maven fetched for Apache Kafka {VERSION} is not what is pinned: "
                            f"{', '.join(wrong)}. Delete these from Maven's repository (~/.m2) and try again; "
                            f"if it stays so, do not trust where Maven takes them from (settings.xml)"
                        )
                    shutil.rmtree(directory, ignore_errors=True)
                    fetched.rename(directory)
    except OSError as exc:
        raise BrokerError(
            f"the jars of Apache Kafka can't be kept in {directory} ({exc.strerror}): "
            "make it writable, or name another place in XDG_CACHE_HOME"
        ) from exc
    return [directory / name for name in pinned]


def wrong_in(directory: Path, pinned: dict[str, str]) -> list[str]:
    """The names of those jars that are missing in the directory, or other than pinned."""
    return [name for name, digest in pinned.items() if _sha256(directory / name) != digest]


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(into: Path) -> None:
    find_java()  # Maven needs one too, and says less clearly that it is missing
    maven = shutil.which("mvn")
    remedy = f"install Maven {'.'.join(map(str, _OLDEST_MAVEN))} or newer"
    if maven is None:
        raise BrokerError(f"Apache Kafka is fetched with Maven, and there is no mvn on the PATH: {remedy}")
    version = subprocess.run([maven, "--batch-mode", "--version"], capture_output=True, text=True)
    if maven_version(version.stdout) < _OLDEST_MAVEN:
        first, *_ = [*(version.stdout + version.stderr).strip().splitlines(), "nothing"]
        raise BrokerError(f"Apache Kafka is fetched with Maven, and {maven} says: {first}; {remedy}")
    # From a copy, so that Maven needs to write nothing where the package is installed.
    into.mkdir()
    pom = into.parent / "pom.xml"
    shutil.copyfile(POM, pom)
    command = [
        *(maven, "--batch-mode", "--quiet", "--file", str(pom), "dependency:copy-dependencies"),
        *("-DincludeScope=runtime", f"-DoutputDirectory={into}"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS)
    except subprocess.TimeoutExpired as exc:
        raise BrokerError(f"{UNREACHABLE}: Maven did not end within {_FETCH_SECONDS} s") from exc
    if done.returncode:
        said = done.stdout + done.stderr
        errors = [line.removeprefix("[ERROR] ") for line in said.splitlines() if line.startswith("[ERROR]")]
        first = errors[0] if errors else said.strip()[-500:]
        if _NOT_REACHED.search(said):
            raise BrokerError(
                f"{UNREACHABLE}, so there is no Apache Kafka {VERSION}: is there a network, and a proxy or "
                f"mirror that Maven's settings.xml should name? Maven says: {first}"
            )
        raise BrokerError(f"Maven could not fetch Apache Kafka {VERSION}: {first}")


def maven_version(said: str) -> tuple[int, ...]:
    """The (3, 8, 7) of ``Apache Maven 3.8.7 (…)``; empty where there is none."""
    found = re.search(r"Apache Maven (\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else ()
