"""Importing Freshline names a stranger that carries the name of one of its packages."""

import subprocess
import sys
from pathlib import Path

import pytest

from freshline.shadowing import OWN_PACKAGES, ShadowedPackageError, check_packages


@pytest.mark.parametrize("package", OWN_PACKAGES)
def test_a_foreign_package_of_the_same_name_is_named(package: str, tmp_path: Path) -> None:
    stranger = tmp_path / package
    stranger.mkdir()
    (stranger / "__init__.py").touch()
    result = subprocess.run(
        [sys.executable, "-c", "import freshline"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert f"the package '{package}' in {stranger} hides Freshline's own" in result.stderr


def test_packages_that_are_not_beside_freshline_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShadowedPackageError, match="hides Freshline's own"):
        check_packages(tmp_path)
