"""``python -m bench.scaling``: every rule under every load, as a table."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from bench.scaling.hpa import BEHAVIOURS
from bench.scaling.loads import LOADS, RATE_PER_S
from bench.scaling.measuring import RULES, hours, means
from bench.scaling.simulation import TARGET_S


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--behaviour", choices=sorted(BEHAVIOURS), default="moderate", help="of the HPA")
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help="records a replica does in a second of work")
    parser.add_argument("--docs", action="store_true", help="write docs/scaling.md with its drawings instead")
    arguments = parser.parse_args()
    if arguments.docs:
        # What draws comes with what `make test-k8s` installs.
        from bench.scaling.report import write_docs  # noqa: PLC0415

        Console().print(f"Written: {write_docs()}")
        return
    found = hours(arguments.behaviour, arguments.rate)
    table = Table("load", *RULES, title=f"seconds over {TARGET_S:g} s / replica-seconds of those needed / reversals")
    for load in LOADS:
        of_rules = [found[rule][load] for rule in RULES]
        table.add_row(
            load, *(f"{each.over_s} / {each.replica_s / each.oracle_s:.2f} / {each.reversals}" for each in of_rules)
        )
    table.add_section()
    rows = [means(found[rule]) for rule in RULES]
    table.add_row("mean", *(f"{over_s:.0f} / {replicas:.2f} / {reversals:.1f}" for over_s, replicas, reversals in rows))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
