"""Each line on standard error is one JSON object with a time, whoever says it."""

from __future__ import annotations

import json
import subprocess
import sys

SAYING = """
import logging
from infra.logs import configure_logs, logger

configure_logs()
logger("room").info("ours", offset=1)
library = logging.getLogger("library")
library.info("not to be seen")
library.warning("it's a \\"quote\\"\\nand a second line: %s", 2)
try:
    raise ValueError("of the library's")
except ValueError:
    library.exception("raised")
"""


def test_each_line_is_one_object_with_a_time_and_a_level() -> None:
    said = subprocess.run([sys.executable, "-c", SAYING], capture_output=True, text=True, check=True)
    ours, theirs, raised = map(json.loads, said.stderr.splitlines())
    assert (ours["room"], ours["event"], ours["level"], ours["offset"]) == ("room", "ours", "info", 1)
    assert (theirs["logger"], theirs["level"]) == ("library", "warning")
    assert theirs["event"] == 'it\'s a "quote"\nand a second line: 2'
    assert "ValueError: of the library's" in raised["exception"]
    assert all(each["timestamp"].endswith("Z") for each in (ours, theirs, raised))
    assert said.stdout == ""
