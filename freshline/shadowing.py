"""Checks that the packages beside this one are Freshline's own.

They carry plain names (`schemas`, `infra`, …), so another distribution, or a folder of the program that imports us, may
hold one of the same name and be found first. Then nothing of ours works, and the error that Python shows speaks of a
missing module deep inside. This check speaks of the stranger instead.
"""

import importlib.util
from pathlib import Path

OWN_PACKAGES = ("schemas", "infra", "consumers", "streams")
HOME = Path(__file__).resolve().parent.parent


class ShadowedPackageError(ImportError):
    """A package of Freshline is hidden by another one of the same name.

    No `FreshlineError`: that class lives in one of the packages that may be hidden.
    """


def check_packages(home: Path = HOME) -> None:
    """See that each of our packages is found in the folder that holds this one.

    Raises:
        ShadowedPackageError: one is found elsewhere or not at all; the message names the stranger and what to do.
    """
    for name in OWN_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ShadowedPackageError(
                f"Freshline's package {name!r} is missing from {home}: install freshline again",
                name=name,
            )
        found = Path(spec.origin).resolve().parent
        if found != home / name:
            raise ShadowedPackageError(
                f"the package {name!r} in {found} hides Freshline's own in {home / name}: rename it, or take its "
                "folder from sys.path",
                name=name,
                path=str(found),
            )
