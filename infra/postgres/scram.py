"""Passwords as SCRAM verifiers: what Postgres stores of a password is computed here.

So no statement and no server log ever holds a password in clear, and a second run can tell whether the stored one is
still the same without setting it again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

from schemas.errors import SettingsError

_ITERATIONS = 4096
_SALT_BYTES = 16
_VERIFIER = re.compile(r"^SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$")


def verifier(password: str, *, salt: bytes | None = None, iterations: int = _ITERATIONS) -> str:
    """What Postgres stores for this password.

    Raises:
        SettingsError: the password has characters that client and server could normalise differently.
    """
    if not password or not password.isascii() or not password.isprintable():
        raise SettingsError("A role's password must be printable ASCII and not empty. Generate another one.")
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def verifies(stored: str | None, password: str) -> bool:
    """Whether what Postgres stores was made from this password."""
    match = _VERIFIER.match(stored or "")
    if match is None or stored is None:
        return False
    again = verifier(password, salt=base64.b64decode(match[2]), iterations=int(match[1]))
    return hmac.compare_digest(again, stored)
