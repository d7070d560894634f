"""``python -m shadowlane.embedded.kafka --data DIR [--nodes 3] [--port N]``"""

import argparse
import sys
from pathlib import Path

from shadowlane.embedded.kafka.server import serve
from shadowlane.embedded.kafka.settings import DEFAULT_PORT
from shadowlane.errors import BrokerError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shadowlane.embedded.kafka")
    parser.add_argument("--data", type=Path, required=True, help="the directory that keeps the data")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="(default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="on 127.0.0.1 (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        serve(arguments.data, arguments.nodes, arguments.port)
    except BrokerError as exc:
        print(f"kafka: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
