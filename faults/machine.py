"""The machine, hurt: disks that are full, clocks that jump."""

import contextlib
import glob
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.brokers import Apache
from faults.case import Case, Inject
from faults.overload import told
from faults.traffic import wait_until

DISK_MB = 192
# With a monotonic clock that is left alone, libfaketime 0.9.10 refuses the sleep that Python asks for (EINVAL).
SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def no_small_disk() -> str:
    """Why no small file system can be mounted here."""
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    )
    return "" if done.returncode == 0 else "a small disk needs the right to mount one (root)"


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of :data:`DISK_MB` at ``place``."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(ballast: Path) -> None:
    """Writes until the disk has no byte left."""
    with ballast.open("wb", buffering=0) as out:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    out.write(b"\0" * size)


def _full(
    place: Path, is_told: Callable[[], bool], case: Case, what: str, meanwhile: Callable[[], object] = list
) -> None:
    """The disk stays full until that is told, and all the traffic has passed."""
    ballast = place / "ballast"
    fill(ballast)
    try:
        wait_until(is_told, what, 60, every=0.2)
        meanwhile()
        case.await_sent(1.0)
    finally:
        ballast.unlink()
    case.note(f"told meanwhile: {what}")


def store_disk_full(case: Case) -> None:
    """The store has no byte left on its disk."""
    case.await_sent(0.2)
    warnings = case.stack.log("sink").count("is not written, again in")
    _full(
        case.stack.store.data.parent,
        lambda: case.stack.log("sink").count("is not written, again in") > warnings,
        case,
        "the sink waits for the store and tries again",
        lambda: told(case, "sink", r"waits for the store for .*: it.*the insert is tried again"),
    )


def broker_disk_full(case: Case) -> None:
    """Apache Kafka has no byte left: it ends itself, and is started again once there is room."""
    broker = case.stack.broker
    assert isinstance(broker, Apache)
    case.await_sent(0.2)
    _full(
        broker.data.parent,
        lambda: broker.cluster.exit_code(1) is not None,
        case,
        "Kafka ends itself for want of a disk",
    )
    broker.start()


def no_faketime() -> str:
    """Why no clock can be moved here."""
    return (
        "" if _library() and shutil.which("cc") else "a clock that jumps needs libfaketime and a C compiler"
    )


def _library() -> str:
    found = [path for pattern in LIBRARIES for path in glob.glob(pattern)]
    return found[0] if found else ""


def own_clock(file: Path) -> dict[str, str]:
    """The environment of a process whose clock is set by ``file``: seconds beside the machine's, as ``+3600``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _set(file, 0)
    (file.parent / "sitecustomize.py").write_text(SLEEP)
    waits = file.parent / "waits.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", waits, Path(__file__).parent / "waits.c"], check=True)
    return {
        "PYTHONPATH": str(file.parent),
        "LD_PRELOAD": f"{waits}:{_library()}",
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def _set(file: Path, seconds: int) -> None:
    """In one piece: who reads it at that moment must not find it empty."""
    new = file.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n")
    new.replace(file)


def jumps(clock: str, seconds: int) -> Inject:
    """The clock of the components, or of the store, jumps in the middle, and jumps back at the end."""

    def inject(case: Case) -> None:
        file = case.stack.system.folder / "clocks" / clock
        case.await_sent(0.3)
        _set(file, seconds)
        case.await_sent(0.8)
        case.await_stored(0.5)
        _set(file, 0)

    return inject
