"""Tells at the end of a run how much of the model was explored."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    properties = [
        pair for report in terminalreporter.stats.get("passed", []) for pair in getattr(report, "user_properties", [])
    ]
    states = sum(value for name, value in properties if name == "states")
    if states:
        counterexamples = sum(name == "counterexample" for name, _ in properties)
        terminalreporter.write_line(
            f"model: {states:,} states explored, {counterexamples} rules with a counterexample when left out"
        )
