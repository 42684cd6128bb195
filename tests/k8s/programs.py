"""Programs that no package registry has as such, built from their Go modules: once, which takes minutes.

controlplane/   etcd, kube-apiserver, kube-controller-manager and kubectl, as one
adapter/        prometheus-adapter
prometheus/     Prometheus, and promtool
"""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_TIMEOUT_S: Final = 1_800.0
_VERSION: Final = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in {"gitVersion": "v1.34.4", "gitMajor": "1", "gitMinor": "34"}.items()
)
# Without the clouds whose machines Prometheus can discover, which are half of its building.
_FLAGS: Final = ("-trimpath", "-tags", "remove_all_sd")
# Of each program its module's folder, and the package in it.
PROGRAMS: Final = {
    "controlplane": ("controlplane", "."),
    "adapter": ("adapter", "sigs.k8s.io/prometheus-adapter/cmd/adapter"),
    "prometheus": ("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
    "promtool": ("prometheus", "github.com/prometheus/prometheus/cmd/promtool"),
}


class Programs:
    """Builds what is asked for, if that was not done before: a program is named after its sources."""

    def __init__(self, go: Path, cache: Path) -> None:
        """``go`` is the toolchain, ``cache`` where programs are kept."""
        self._go = go
        self._cache = cache

    def path(self, name: str) -> Path:
        """The program of this name."""
        folder, package = PROGRAMS[name]
        sources = sorted(each for each in (_HERE / folder).iterdir() if each.suffix in {".go", ".mod", ".sum"})
        digest = sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()
        program = self._cache / f"{name}-{digest[:16]}"
        if not program.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            unfinished = program.with_suffix(".unfinished")
            subprocess.run(
                [self._go, "build", *_FLAGS, "-ldflags", f"-s -w {_VERSION}", "-o", unfinished, package],
                cwd=_HERE / folder,
                env=os.environ | {"GOTOOLCHAIN": "local"},
                check=True,
                timeout=_TIMEOUT_S,
            )
            unfinished.rename(program)
        return program
