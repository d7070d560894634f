"""``python -m shadowlane.embedded.broker [--data DIR] [--port N]``"""

import argparse
import logging
import sys
from pathlib import Path

from shadowlane.embedded.broker.process import DEFAULT_LIMIT, DEFAULT_PORT, serve
from shadowlane.errors import BrokerError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shadowlane.embedded.broker")
    parser.add_argument(
        "--data", type=Path, help="the directory that keeps the data; without one nothing is kept"
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=DEFAULT_LIMIT, help="bytes that are yet to be read")
    parser.add_argument(
        "--advertised", type=int, help="the port that clients are told, where a proxy is in between"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve(arguments.port, arguments.data, limit=arguments.limit, advertised=arguments.advertised)
    except BrokerError as exc:
        print(f"broker: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
