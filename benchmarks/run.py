"""All benchmarks, each in its own process, one after the other.

    python benchmarks/run.py [NAME]... [--json FILE]

Each prints its table as it ends. Absolute figures are of this machine and this hour; what carries over are the
ratios within one run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHMARKS = {
    "audit": "an audit of what Kafka and the store hold, beside reading the same records",
    "mirror": "the mirror on the request path, beside a bare Producer.produce",
    "captures": "capturing an openai client's calls, beside LiteLLM's callback, Langfuse and OpenTelemetry",
    "pairing": "pairs a second through Faust, beside quixstreams, bytewax, a plain loop and the orjson floor",
    "store": "rows a second into the store",
    "sink": "the sink from Kafka to the store, beside a bare insert of the same rows as columns",
    "ingest": "exchanges posted to ingest, beside an endpoint that hands bodies to Kafka as they are",
    "worker": "candidate calls a second, beside a bare aiohttp loop and the openai SDK's",
    "stop": "from a stop, by command and by file, to the end of the last call",
    "latency": "from a request's end to its row in the store",
    "detection": "pairs until a change is detected, beside Wald's test",
    "engine": "the goals of the whole engine: metrics by slices, sessions, outages, late changes",
    "poll": "a poll of the controller on 5,000,000 pairs, cold and warm",
    "router": "who serves a key, beside a look-up and a hash",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    results: dict[str, object] = {}
    failed = []
    for name in args.names or BENCHMARKS:
        print(f"\n== {name}: {BENCHMARKS[name]}", flush=True)
        started = time.monotonic()
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            code = (
                "import json, sys; from benchmarks import {0}; json.dump({0}.run(), open(sys.argv[1], 'w'))"
            )
            command = [sys.executable, "-c", code.format(name), out.name]
            done = subprocess.run(command, cwd=HERE.parent, env=os.environ | {"PYTHONPATH": str(HERE.parent)})
            if done.returncode:
                failed.append(name)
                continue
            results[name] = json.loads(Path(out.name).read_text())
        print(f"   ({time.monotonic() - started:.0f} s)", flush=True)
    if args.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
        args.json.write_text(json.dumps({"machine": machine, "benchmarks": results}, indent=2) + "\n")
        print(f"\nwritten to {args.json}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
