"""The control plane, once for all tests of this folder: ``make test-k8s``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CACHE
from tests.k8s.control_plane import ControlPlane, build


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that runs."""
    go = Path(sys.executable).parent / "go"
    program = build(go, CACHE / "k8s")
    with ControlPlane(program, tmp_path_factory.mktemp("control-plane")) as running:
        yield running
