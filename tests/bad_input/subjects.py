"""Rows of every table of the reference catalog, to write bad records about."""

from __future__ import annotations

from typing import Any

from tests.bad_input.corpus import Subject

_TIME = "2026-01-01T00:00:00.000000Z"


def row(table: str, number: int) -> dict[str, Any]:
    """A row of this table."""
    times = {"created_at": _TIME, "updated_at": _TIME}
    return {
        "users": {"id": number, "email": "e", "name": "Ada L", "is_active": True, "preferences": "{}"} | times,
        "conversations": {"id": number, "user_id": 3, "title": "Ada L", "metadata": "{}"} | times,
        "documents": {
            "id": number,
            "uploaded_by": 3,
            "title": "Ada L",
            "content": "c",
            "content_type": "t",
            "size_mb": None,
        }
        | times,
        "messages": {
            "id": number,
            "conversation_id": 3,
            "role": "user",
            "content": "Ada L",
            "tokens": None,
            "timestamp": _TIME,
        },
    }[table]


def subject(table: str, number: int, lsn: int, xid: int, now_ms: int) -> Subject:
    """The row as the subject of bad records."""
    texts = {"users": "name", "conversations": "title", "documents": "title", "messages": "content"}
    other = {"users": "conversations"}.get(table, "users")
    return Subject(table, row(table, number), lsn, xid, now_ms, other, texts[table])
