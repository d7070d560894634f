"""A sink as a process: ``python -m tests.processors.sink.whole SETTINGS``, as JSON, the password apart."""

import logging
import os
import sys

import orjson

from shadowlane.processors.sink import run
from shadowlane.schemas.config import Settings


def settings() -> Settings:
    raw = orjson.loads(sys.argv[1])
    raw["clickhouse"]["password"] = os.environ["CLICKHOUSE_PASSWORD"]
    return Settings(**raw)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    run(settings())
