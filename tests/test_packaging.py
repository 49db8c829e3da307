"""What is shipped is whole, pinned, and light to import."""

import fnmatch
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import amusd
from amusd.errors import InputError

ROOT = Path(amusd.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    return [
        Requirement(text)
        for text in [*project["dependencies"], *(text for extra in extras for text in extra)]
    ]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_every_dependency_has_a_pin_in_its_range(requirement: Requirement) -> None:
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_pins_are_names_and_versions_only() -> None:
    for name, version in PINS.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
        assert re.fullmatch(r"[0-9][0-9A-Za-z.]*", version), f"{name}: no local builds, no URLs"


def test_every_data_file_of_the_package_is_shipped() -> None:
    patterns = [
        pattern.replace("**/*", "*") for pattern in PROJECT["tool"]["setuptools"]["package-data"]["amusd"]
    ]
    package = ROOT / "amusd"
    for file in package.rglob("*"):
        if file.is_file() and file.suffix not in (".py", ".pyc"):
            name = file.relative_to(package).as_posix()
            assert any(fnmatch.fnmatch(name, pattern.replace("**/", "*")) for pattern in patterns), name


def test_every_public_name_can_be_imported() -> None:
    for name in amusd.__all__:
        assert getattr(amusd, name) is not None
    assert dir(amusd) == sorted(amusd.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = amusd.nonsense


def test_importing_the_package_starts_no_thread_pools() -> None:
    program = "import sys, amusd; print(sorted({'torch', 'ray', 'grpc', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_rules_can_be_had_after_a_bare_import() -> None:
    program = 'import amusd; print(amusd.sampling.rules.get("spechub").name)'
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "spechub\n"


@pytest.mark.parametrize(
    "script", sorted([*ROOT.glob("scripts/*.sh"), ROOT / ".ci" / "run"]), ids=lambda path: path.name
)
def test_shell_scripts_parse(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


def test_a_process_left_behind_is_found_by_its_mark() -> None:
    marked_processes = runpy.run_path(str(ROOT / "scripts" / "check_left_behind.py"))["marked_processes"]
    mark = f"test-{os.getpid()}"
    environment = os.environ | {"TEST_RUN_OF_AMUSD": mark}
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment)
    assert [found.pid for found in marked_processes(mark)] == [process.pid]
    process.communicate()
    assert marked_processes(mark) == []


def test_errors_are_one_line_and_survive_a_process_boundary() -> None:
    import pickle

    error = InputError("stop", "", "give at least one character")
    assert str(error) == "stop: '': give at least one character"
    assert str(InputError("stop", " \n", "give text")) == "stop: ' \\n': give text"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
