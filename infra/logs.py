"""Logs: one JSON object a line on standard error, with the field names of docs/GLOSSARY.md.

What is logged are names, positions and counts: never a row's values, never a secret.
"""

from __future__ import annotations

import logging
import sys
from typing import cast

import structlog
from structlog.typing import FilteringBoundLogger

Logger = FilteringBoundLogger


def configure_logs(level: str = "info") -> None:
    """Write logs of this level and above to standard error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    # aiokafka and asyncio say what matters at warning; their text goes through the same stream.
    logging.basicConfig(
        level=max(number, logging.WARNING),
        stream=sys.stderr,
        format='{"level":"%(levelname)s","logger":"%(name)s","event":%(message)r}',
    )


def logger(room: str) -> Logger:
    """The logger of one part of the system."""
    return cast("Logger", structlog.get_logger(room=room))
