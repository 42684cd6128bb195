"""What was simulated and what was seen in a cluster, as a page of the docs with its drawings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.scaling.loads import LOADS, RATE_PER_S
from bench.scaling.measuring import RULES, hours, means
from bench.scaling.plots import draw_hours, draw_timeline
from bench.scaling.real import CLUSTER, RECOVERY_S, Error, error, read, simulated
from bench.scaling.simulation import TARGET_S, Outcome
from bench.scaling.timelines import Figures

DOCS: Final = Path(__file__).parents[2] / "docs"
_PAGE: Final = """# Replicas that follow the load, simulated and real

`python -m bench.scaling --docs` writes this page. [Why it is done so](decisions/lag-and-demand.md).

## Simulated

The HPA's algorithm with the guide's moderate behaviour, an hour of each load on 24 partitions. Each cell: seconds in
which the oldest record was over {target:g} s / replica-seconds of those needed / reversals. The mean is of the loads
whose target can be met.

{tables}
![Replicas and age by rule](images/scaling-simulated.svg)

## In a cluster

`make test-k8s`: Kubernetes's own controller scales real workers (no kubelet; syncs 1 s apart, scrapes 1 s; a store
behind a stated latency). Ten times the load for minutes, and the simulator's replicas for the same load:

![Ten times the load](images/scaling-tenfold.svg)

| | simulated | real |
|---|---|---|
| replica-seconds, of the real | {error.replica_s:.2f} | 1 |
| oldest record at its worst, s | {error.worst_lag_s[0]:.0f} | {error.worst_lag_s[1]:.0f} |
| reversals | {error.reversals[0]} | {error.reversals[1]} |

The number of replicas differs by {error.replicas:.2f} in the mean over all seconds.
{comparison}"""
_COMPARISON: Final = """
## Beside KEDA's rule, in the same cluster

`pytest tests/k8s/comparison.py`: lag over a threshold (KEDA's default is 10) and demand, over the same day in minutes,
then with a store that takes a tenth of each worker, a tenth of the load, and nothing tuned again. Each cell: seconds
over {target:g} s / replica-seconds / reversals.

| | a replica does some 1,500 records/s | a tenth |
|---|---|---|
{rows}
"""


def write_docs() -> Path:
    """Write the page and its drawings, and say where the page is.

    Raises:
        FileNotFoundError: no timeline of a cluster was kept.
    """
    by_rate = {rate: hours("moderate", rate) for rate in (RATE_PER_S, RATE_PER_S / 10)}
    images = DOCS / "images"
    draw_hours(images / "scaling-simulated.svg", by_rate[RATE_PER_S])
    samples = read("tenfold")
    outcome = simulated(samples)
    draw_timeline(images / "scaling-tenfold.svg", samples, RECOVERY_S, outcome)
    page = DOCS / "scaling.md"
    page.write_text(_page(by_rate, error(samples, outcome)))
    return page


def _page(by_rate: Mapping[float, Mapping[str, Mapping[str, Outcome]]], found: Error) -> str:
    tables = "".join(f"{rate:g} records/s a replica:\n\n{_table(by_rule)}\n" for rate, by_rule in by_rate.items())
    file = CLUSTER / "comparison.json"
    comparison = _comparison(msgspec.json.decode(file.read_bytes(), type=dict[str, Figures])) if file.exists() else ""
    return _PAGE.format(target=TARGET_S, tables=tables, error=found, comparison=comparison)


def _table(by_rule: Mapping[str, Mapping[str, Outcome]]) -> str:
    lines = [f"| load | {' | '.join(RULES)} |", f"|---|{'---|' * len(RULES)}"]
    for load in LOADS:
        cells = [
            f"{each.over_s} / {each.replica_s / each.oracle_s:.2f} / {each.reversals}"
            for each in (by_rule[rule][load] for rule in RULES)
        ]
        lines.append(f"| {load} | {' | '.join(cells)} |")
    found = [means(by_rule[rule]) for rule in RULES]
    cells = [f"{over_s:.0f} / {replicas:.2f} / {reversals:.1f}" for over_s, replicas, reversals in found]
    return "\n".join([*lines, f"| **mean** | {' | '.join(cells)} |", ""])


def _comparison(found: Mapping[str, Figures]) -> str:
    rules = dict.fromkeys(name.rpartition("-")[0] for name in found)
    rows = [f"| {rule} | {_cell(found.get(f'{rule}-fast'))} | {_cell(found.get(f'{rule}-slow'))} |" for rule in rules]
    return _COMPARISON.format(target=RECOVERY_S, rows="\n".join(rows))


def _cell(figures: Figures | None) -> str:
    return "" if figures is None else f"{figures.over_s:.0f} / {figures.replica_s:.0f} / {figures.reversals}"
