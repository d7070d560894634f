"""``python -m shadowlane.embedded.store --data DIR --port N``"""

import argparse
import sys
from pathlib import Path

from shadowlane.embedded.store.server import DEFAULT_PORT, serve
from shadowlane.errors import StoreError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shadowlane.embedded.store")
    parser.add_argument("--data", type=Path, required=True, help="the directory that keeps the data")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="on 127.0.0.1 (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        serve(arguments.data, arguments.port)
    except StoreError as exc:
        print(f"store: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
