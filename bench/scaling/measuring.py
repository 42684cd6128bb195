"""The figures: every rule under every load, and the means of those loads whose target can be met."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bench.results import Figure, compared
from bench.scaling.hpa import BEHAVIOURS
from bench.scaling.loads import LOADS, PARTITIONS, RATE_PER_S
from bench.scaling.rules import DemandRule, LagRule, Rule, SecondsRule
from bench.scaling.simulation import TARGET_S, Outcome, simulate
from infra.settings import DemandSettings

# Saturated, nobody can meet the target, and in an outage nobody does: these are shown, and left out of the means.
BEYOND_ALL: Final = {"saturating store", "outage"}
RULES: Final[Mapping[str, Callable[[], Rule]]] = {
    "lag/10": lambda: LagRule(10),  # KEDA's default
    "lag/1000": lambda: LagRule(1_000),
    "lag/3000": lambda: LagRule(3_000),
    "lag/6000": lambda: LagRule(6_000),
    "seconds": lambda: SecondsRule(TARGET_S / 2),
    "demand": lambda: DemandRule(DemandSettings(recovery_s=TARGET_S, ceiling=PARTITIONS)),
}


def hours(behaviour: str, rate_per_s: float) -> dict[str, dict[str, Outcome]]:
    """For every rule and every load an hour."""
    return {
        rule: {
            name: simulate(load, make(), BEHAVIOURS[behaviour], rate_per_s=rate_per_s) for name, load in LOADS.items()
        }
        for rule, make in RULES.items()
    }


def means(found: Mapping[str, Outcome]) -> tuple[float, float, float]:
    """Seconds over the target, replica-seconds over the oracle's, reversals: of the loads whose target can be met."""
    counted = [hour for name, hour in found.items() if name not in BEYOND_ALL]
    return (
        sum(hour.over_s for hour in counted) / len(counted),
        sum(hour.replica_s / hour.oracle_s for hour in counted) / len(counted),
        sum(hour.reversals for hour in counted) / len(counted),
    )


def measure() -> list[Figure]:
    """The means, at a service rate and at a tenth of it, with nothing tuned in between."""
    figures: list[Figure] = []
    for rate in (RATE_PER_S, RATE_PER_S / 10):
        by_rule = {rule: means(found) for rule, found in hours("moderate", rate).items()}
        for place, (what, unit) in enumerate((("over", "s/h"), ("replicas", "of needed"), ("reversals", "1/h"))):
            at = f"{rate:g}/s"
            ours = Figure(f"scaling.{what}@demand,{at}", by_rule["demand"][place], unit)
            others = [rule for rule in by_rule if rule != "demand"]
            figures += [
                ours,
                *(compared(f"scaling.{what}@{rule},{at}", by_rule[rule][place], unit, ours) for rule in others),
            ]
    return figures
