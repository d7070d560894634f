"""The wheel that a service installs: small, and a good neighbour to modules of the same names."""

import email
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("schemas", "producers", "processors", "evaluators", "rollout", "console", "embedded")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, so that no build directory is left in the tree."""
    source, out = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("dist")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for name in tracked:
        origin = ROOT / name
        if origin.is_symlink() or not origin.is_file():
            continue
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(origin.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(command, check=True)
    return target


def run_as_service(code: str, *paths: Path, cwd: Path) -> str:
    """A Python that sees the service's folder and the installed wheel before everything else."""
    inserted = "".join(f"sys.path.insert({n}, {str(path)!r});" for n, path in enumerate(paths))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys;{inserted}\n{code}"], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"shadowlane"}
    for folder in FOLDERS:
        assert f"shadowlane/{folder}/__init__.py" in names
    assert "shadowlane/py.typed" in names
    assert any(name.startswith("shadowlane/schemas/migrations/") and name.endswith(".sql") for name in names)
    for name in ("pom.xml", "jars.sha256", "log4j2.properties"):
        assert f"shadowlane/embedded/kafka/{name}" in names
    assert len(names) == len(set(names)), "a folder was packed twice"


def test_a_service_installs_three_packages(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    required = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist") or []
    always = [line.split(">")[0].strip() for line in required if "extra ==" not in line]
    assert sorted(always) == ["confluent-kafka", "orjson", "pydantic"]


def test_a_service_with_modules_of_the_same_names(installed: Path, tmp_path: Path) -> None:
    for folder in FOLDERS:
        (tmp_path / f"{folder}.py").write_text(f"MINE = {folder!r}\n")
    code = f"""
import {", ".join(FOLDERS)}
import shadowlane
from shadowlane import Mirror
assert shadowlane.__file__.startswith({str(installed)!r}), shadowlane.__file__
assert [m.MINE for m in ({", ".join(FOLDERS)},)] == {list(FOLDERS)!r}
import shadowlane.schemas.events, shadowlane.producers
assert shadowlane.schemas.events.__file__.startswith({str(installed)!r})
print(Mirror.__module__)
"""
    assert run_as_service(code, tmp_path, installed, cwd=tmp_path).startswith("shadowlane.producers")


def test_the_mirror_imports_nothing_of_the_servers(installed: Path, tmp_path: Path) -> None:
    code = """
import json, sys
from shadowlane import Mirror
print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))
"""
    loaded = set(json.loads(run_as_service(code, installed, cwd=tmp_path)))
    heavy = {"faust", "clickhouse_connect", "chdb", "aiohttp", "typer", "rich", "yaml", "pydantic_settings"}
    assert not loaded & (heavy | {"prometheus_client", "openai", "httpx", "httpx2", "starlette", "rapidfuzz"})


def test_the_command_without_its_extra_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    code = """
import sys
sys.modules['typer'] = None  # as where the extra is not installed
from shadowlane.cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 2, end.code
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys;sys.path.insert(0, {str(installed)!r})\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'shadowlane[server,embedded]'" in done.stderr
