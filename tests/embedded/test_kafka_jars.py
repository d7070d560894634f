"""Where the broker's jars come from, with a Maven and a Java that only pretend."""

import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from shadowlane.embedded.kafka import VERSION
from shadowlane.embedded.kafka import jars as subject
from shadowlane.embedded.kafka.jars import POM, UNREACHABLE, checksums, jars, maven_version
from shadowlane.embedded.kafka.java import find_java, major_version
from shadowlane.errors import BrokerError

JAVA_17 = """echo 'openjdk version "17.0.15" 2025-04-15' >&2"""
MAVEN = "Apache Maven 3.8.7 (x)"
GOOD = {"a.jar": "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"}  # of the line "a"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Programs":
    find_java.cache_clear()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    made = Programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(made.folder))
    monkeypatch.setattr(subject, "checksums", lambda: GOOD)
    return made


class Programs:
    """All that is on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def maven(self, does: str, says: str = MAVEN) -> None:
        """``does`` is run with the name of the directory to fill in ``$into``."""
        find = 'for word in "$@"; do case "$word" in -DoutputDirectory=*) into="${word#*=}";; esac; done'
        self.add("mvn", f'if [ "$2" = --version ]; then echo "{says}"; exit; fi\n{find}\n{does}')


def test_the_list_is_what_the_pom_pins() -> None:
    names = {"": "http://maven.apache.org/POM/4.0.0"}
    pinned = [
        f"{dependency.findtext('artifactId', '', names)}-{dependency.findtext('version', '', names)}.jar"
        for dependency in ElementTree.parse(POM).findall(".//dependency", names)
    ]
    assert f"kafka_2.13-{VERSION}.jar" in pinned
    assert set(pinned) <= set(checksums())
    assert all(len(digest) == 64 for digest in checksums().values())


def test_fetched_once_and_again_when_a_jar_is_not_what_it_was(programs: Programs, tmp_path: Path) -> None:
    programs.add("java", JAVA_17)
    programs.maven(f'echo a > "$into/a.jar"; echo fetched >> {tmp_path}/log')
    cache = tmp_path / "cache" / "4"
    for _ in range(2):
        assert jars(cache) == [cache / "a.jar"]
    (cache / "a.jar").write_text("something else")
    assert jars(cache)[0].read_text() == "a\n"
    assert (tmp_path / "log").read_text() == "fetched\n" * 2
    assert [path.name for path in cache.parent.iterdir() if path.is_dir()] == ["4"]


def test_what_is_not_pinned_is_not_used(programs: Programs, tmp_path: Path) -> None:
    programs.add("java", JAVA_17)
    programs.maven('echo b > "$into/a.jar"')
    with pytest.raises(BrokerError, match=r"not what is pinned: a\.jar"):
        jars(tmp_path / "cache" / "4")
    assert not (tmp_path / "cache" / "4").exists()


def test_maven_central_out_of_reach(programs: Programs, tmp_path: Path) -> None:
    programs.add("java", JAVA_17)
    programs.maven(
        'echo "[ERROR] Could not transfer artifact x from/to central: repo.maven.apache.org: '
        'Name or service not known"; exit 1'
    )
    with pytest.raises(BrokerError, match=f"^{UNREACHABLE}.*Maven says: Could not transfer"):
        jars(tmp_path / "4")


def test_another_failure_of_maven_is_not_the_network(programs: Programs, tmp_path: Path) -> None:
    programs.add("java", JAVA_17)
    programs.maven('echo "[ERROR] Non-parseable POM"; exit 1')
    with pytest.raises(BrokerError, match=r"^Maven could not fetch .*: Non-parseable POM"):
        jars(tmp_path / "4")


def test_what_is_missing_or_too_old_is_named(programs: Programs, tmp_path: Path) -> None:
    def said() -> str:
        find_java.cache_clear()
        with pytest.raises(BrokerError) as caught:
            jars(tmp_path / "4")
        return str(caught.value)

    assert "there is none on the PATH: install Java 17" in said()
    programs.add("java", """echo 'java version "1.8.0_392"' >&2""")
    assert "needs Java 17 or newer" in said()
    programs.add("java", "exit 1")
    assert "does not run" in said()
    programs.add("java", JAVA_17)
    assert "no mvn on the PATH: install Maven 3.6.3" in said()
    programs.maven("exit 1", says="Apache Maven 3.3.9 (x)")
    assert "says: Apache Maven 3.3.9" in said()


def test_a_cache_that_can_not_be_written(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match="XDG_CACHE_HOME"):
        jars(tmp_path / "file" / "4")


def test_java_home_comes_first(programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.add("java", "exit 1")
    home = tmp_path / "jdk" / "bin"
    home.mkdir(parents=True)
    monkeypatch.setenv("JAVA_HOME", str(home.parent))
    programs.add("other", JAVA_17)
    shutil.copy(programs.folder / "other", home / "java")
    assert find_java() == str(home / "java")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ("no such thing", 0),
    ],
)
def test_versions_of_java(said: str, version: int) -> None:
    assert major_version(said) == version


def test_versions_of_maven() -> None:
    assert maven_version("Apache Maven 3.8.7 (x)\nMaven home: /x") == (3, 8, 7)
    assert maven_version("\x1b[1mApache Maven 4.0.0-rc-4 (x)\x1b[m") == (4, 0, 0)
    assert maven_version("no such thing") == ()
