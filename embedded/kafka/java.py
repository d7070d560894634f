"""Which Java runs the broker."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from shadowlane.errors import BrokerError

OLDEST_JAVA = 17


@cache
def find_java() -> str:
    """The path of a Java that Kafka runs on: JAVA_HOME's, else the one on the PATH.

    Raises BrokerError if there is none, or if it is older than Java 17.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    remedy = f"install Java {OLDEST_JAVA} or newer, or name it in JAVA_HOME"
    if java is None:
        raise BrokerError(f"Apache Kafka needs Java, and there is none on the PATH: {remedy}")
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise BrokerError(f"Apache Kafka needs Java, and {java} does not run ({exc}): {remedy}") from exc
    said = done.stderr + done.stdout
    if (version := major_version(said)) < OLDEST_JAVA:
        raise BrokerError(
            f"Apache Kafka needs Java {OLDEST_JAVA} or newer, and {java} is {version}: {remedy}"
        )
    return java


def major_version(said: str) -> int:
    """The 17 of ``openjdk version "17.0.15"``, and the 8 of ``"1.8.0_392"``; 0 where there is none."""
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else 0
