"""Programs and a control plane, once for all tests of this folder: ``make test-k8s``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CACHE
from tests.k8s.control_plane import ControlPlane
from tests.k8s.programs import Programs


@pytest.fixture(scope="session")
def go() -> Path:
    """The toolchain."""
    return Path(sys.executable).parent / "go"


@pytest.fixture(scope="session")
def programs(go: Path) -> Programs:
    """Builds what is asked for."""
    return Programs(go, CACHE / "k8s")


@pytest.fixture(scope="session")
def control_plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that runs."""
    folder = tmp_path_factory.mktemp("control-plane")
    with ControlPlane(programs.path("controlplane"), folder) as running:
        yield running
