"""Kubernetes's quantities: ``400m`` or ``0.4`` of a core, ``600Mi`` or ``1Gi`` of memory."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from schemas.errors import SettingsError

MIB: Final = 1 << 20
_UNITS: Final = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": MIB, "Gi": 1 << 30
}  # fmt: skip
_NUMBER: Final = r"(\d+(?:\.\d+)?)"


def millicores(text: str) -> int:
    """Of an amount of CPU.

    Raises:
        SettingsError: it is none.
    """
    found = re.fullmatch(_NUMBER + "(m?)", text)
    if found is None or not (amount := int(Decimal(found[1]) * (1 if found[2] else 1000))):
        raise SettingsError(f"{text!r} is no amount of CPU: write 400m, or 0.4.")
    return amount


def in_bytes(text: str) -> int:
    """Of an amount of memory.

    Raises:
        SettingsError: it is none.
    """
    found = re.fullmatch(_NUMBER + "(k|M|G|Ki|Mi|Gi)?", text)
    if found is None or not (amount := int(Decimal(found[1]) * _UNITS[found[2] or ""])):
        raise SettingsError(f"{text!r} is no amount of memory: write 600Mi, or 1Gi.")
    return amount


def cpu_text(amount: int) -> str:
    """Millicores as manifests have them."""
    return f"{amount}m"


def memory_text(amount: int) -> str:
    """Bytes as manifests have them, to the mebibyte above."""
    return f"{-(-amount // MIB)}Mi"
