"""What capturing the calls of an openai client costs: the mirror's ``wrap`` beside LiteLLM's callback and the SDKs of
Langfuse and OpenTelemetry.

    BENCH_CAPTURES=DIR python benchmarks/run.py captures      `make bench` makes the environments and names them

Each capture is attached as its documentation says, in an environment of its own (``capturing/requirements/``) and a
process of its own; all ask one scripted server on loopback, with the same version of openai. The mirror is installed
from this checkout. Blocks of calls take turns, captured and bare, and after each block what was captured is handed
over whole before the next begins. In microseconds a call, ``p50`` and ``p99`` are what the capture adds to the time
that the service waits, of the calls of all rounds (for a stream from the question to its last event); ``thread`` is the
CPU that it adds to the calling thread, ``CPU`` to the process. ``MiB`` is how much higher the peak of memory is than a
bare client's, ``import`` the time of the import in a fresh process where openai is imported already, ``MB`` what is
installed beside openai (files with their compiled ones).

The peers are shown at their cheapest. LiteLLM's callback is measured against LiteLLM without one, and puts what it is
told into a list; Langfuse and OpenTelemetry send to a local sink that answers at once. The mirror redacts, and
sends to the embedded broker.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.brokers import EMBEDDED, broker
from benchmarks.capturing.attached import IMPORTS
from shadowlane.schemas.topics import Topics

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("litellm", "langfuse", "opentelemetry")
WAYS = {
    "whole": "answers whole",
    "stream": "streams of 40 events",
    "a_whole": "async",
    "a_stream": "async streams",
}
IMPORT_RUNS = 7
Figures = dict[str, float]


def run() -> dict[str, Any]:
    """By capture: microseconds by way, and memory, import and size."""
    environments = _environments()
    if "mirror" not in environments:
        return {}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-captures-") as folder, broker(EMBEDDED) as kafka:
        installed = Path(folder) / "installed"
        _install(Path(folder) / "tree", installed)
        _create_topics(kafka)
        for capture, python in environments.items():
            with _server() as model, _server() as sink:
                side = Side(capture, python, installed, f"{model}/v1", kafka if capture == "mirror" else sink)
                found[capture] = side.figures()
                posted = int(subprocess.check_output(["curl", "-s", sink])) if capture in PEERS[1:] else -1
                assert posted, f"{capture} sent nothing"
    _print(found)
    return found


def _environments() -> dict[str, str]:
    """The captures' interpreters, of those that are there; says which are not."""
    given = os.environ.get("BENCH_CAPTURES")
    if not given:
        print("not measured: BENCH_CAPTURES names no folder of environments (make bench makes them)")
        return {}
    there = {}
    for capture in ("mirror", *PEERS):
        python = Path(given).absolute() / capture / "bin" / "python"
        if (python.parents[1] / ".installed").exists():
            there[capture] = str(python)
        else:
            print(f"without {capture}: {python.parents[1]} could not be installed")
    return there


def _install(tree: Path, target: Path) -> None:
    """The package as a service has it, from a copy: building leaves files behind."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(tree)], check=True)


def _create_topics(kafka: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    for made in admin.create_topics([NewTopic(t, 4, 1) for t in Topics("bench-captures").all]).values():
        made.result(30)


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.capturing.server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


class Side:
    """One capture in its environment."""

    def __init__(self, capture: str, python: str, installed: Path, url: str, sink: str) -> None:
        self._capture = capture
        self._python = python
        self._installed = installed
        self._url = url
        self._sink = sink

    def figures(self) -> dict[str, Any]:
        capture, url, sink = self._capture, self._url, self._sink
        times = self._ask("times", capture, url, sink)
        beside = "library" if "library" in times["whole"] else "bare"
        found: dict[str, Any] = {way: added(arms[beside], arms["captured"]) for way, arms in times.items()}
        if beside == "library":
            found["of the bare client"] = {
                way: added(arms["bare"], arms["captured"]) for way, arms in times.items()
            }
        found["bare"] = {way: _percentiles(arms["bare"]) for way, arms in times.items()}
        peaks = [
            self._ask("memory", capture, "captured", url, sink)
            - self._ask("memory", "bare", "bare", url, sink)
            for _ in range(3)
        ]
        alone, besides = self._ask("size", capture)
        if capture == "mirror":
            own = sum(path.stat().st_size for path in self._installed.rglob("*") if path.is_file()) / 1e6
            alone, besides = alone + own, besides + own
        return found | {
            "MiB": statistics.median(peaks),
            "import_ms": self._import("import openai"),
            "import_alone_ms": self._import("pass"),
            "MB": besides,
            "MB_alone": alone,
        }

    def _ask(self, *arguments: str) -> Any:
        done = self._python_runs("-m", "benchmarks.capturing.side", *arguments)
        return json.loads(done.splitlines()[-1])

    def _import(self, before: str) -> float:
        """Milliseconds, median."""
        code = f"{before}\nimport time\nbegun = time.perf_counter()\n{IMPORTS[self._capture]}\n"
        code += "print(1e3 * (time.perf_counter() - begun))"
        return statistics.median(float(self._python_runs("-c", code)) for _ in range(IMPORT_RUNS))

    def _python_runs(self, *arguments: str) -> str:
        path = [str(ROOT), *([str(self._installed)] if self._capture == "mirror" else [])]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(reversed(path)),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        done = subprocess.run(
            [self._python, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert not done.returncode, f"{self._capture}: {done.stderr[-3000:]}"
        return done.stdout


def added(bare: list[dict[str, Any]], captured: list[dict[str, Any]]) -> Figures:
    """What a capture adds to a call, µs: to the percentiles of all calls, to each round's mean CPU (median)."""
    before, after = _percentiles(bare), _percentiles(captured)
    found = {name: after[name] - before[name] for name in before}
    for name in ("thread", "cpu"):
        found[name] = statistics.median(b[name] - a[name] for a, b in zip(bare, captured, strict=True))
    return found


def _percentiles(blocks: list[dict[str, Any]]) -> Figures:
    took = sorted(t for block in blocks for t in block["took"])
    return {"p50": took[len(took) // 2], "p99": took[int(0.99 * len(took))]}


def _print(found: dict[str, Any]) -> None:
    for way, name in WAYS.items():
        print(f"\n{name}; added to a call, µs{'':14}{'p50':>9}{'p99':>9}{'thread':>9}{'CPU':>9}")
        for capture, figures in found.items():
            print(f"{capture:42}" + "".join(f"{value:9.0f}" for value in figures[way].values()))
            if "of the bare client" in figures:
                row = figures["of the bare client"][way]
                print(
                    f"{capture + ' and its library':42}" + "".join(f"{value:9.0f}" for value in row.values())
                )
        row = found["mirror"]["bare"][way]
        print(f"{'the call itself':42}" + "".join(f"{value:9.0f}" for value in row.values()))
    names = ("MiB", "import_ms", "import_alone_ms", "MB", "MB_alone")
    print(f"\n{'':42}" + "".join(f"{name:>17}" for name in names))
    for capture, figures in found.items():
        print(f"{capture:42}" + "".join(f"{figures[name]:17.1f}" for name in names))


if __name__ == "__main__":
    begun = time.monotonic()
    run()
    print(f"({time.monotonic() - begun:.0f} s)")
