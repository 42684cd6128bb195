"""How much CPU and memory a role should have, from what it was seen to use. Pure.

    used ▸ tight? half as much again ▸ loose? a quarter less ▸ until it fits

The steps and the four cases (under-provisioned, over-provisioned, CPU-bound, memory-bound) are the guide's, which
leaves open when they hold. Here CPU and memory are each looked at alone: together they make the guide's cases, and what
there is too much of is taken back also where the other fits. Between tight and loose there is room for more than a
step, so what was advised once is not advised away again.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from freshline.resources.quantities import MIB

Verdict = Literal["keep", "under-provisioned", "over-provisioned", "CPU-bound", "memory-bound"]

_MORE: Final = 1.5
_LESS: Final = 0.75


class Used(msgspec.Struct, frozen=True):
    """Of one resource, in millicores or bytes."""

    usual: int
    """What it keeps below for 95 % of the time."""
    most: int


class Given(msgspec.Struct, frozen=True):
    """Of one resource, in millicores or bytes."""

    request: int
    limit: int


class Observed(msgspec.Struct, frozen=True):
    """What one container was seen to use."""

    cpu: Used
    memory: Used


class Resources(msgspec.Struct, frozen=True):
    """What one container is given."""

    cpu: Given
    memory: Given


class Advice(msgspec.Struct, frozen=True):
    """What it should be given, and why."""

    verdict: Verdict
    resources: Resources
    reasons: tuple[str, ...]


class _Resource(msgspec.Struct, frozen=True):
    """How one resource is judged: as shares of the request, for what is usual, and of the limit, for the most."""

    name: str
    # The least that is ever requested, and what amounts are rounded up to.
    floor: int
    grain: int
    tight_of_limit: float
    loose_of_limit: float
    tight_of_request: float = 0.80
    loose_of_request: float = 0.40


# Over its limit a process only waits for CPU, but dies for memory.
_CPU: Final = _Resource("CPU", floor=100, grain=10, tight_of_limit=0.90, loose_of_limit=0.45)
_MEMORY: Final = _Resource("memory", floor=128 * MIB, grain=16 * MIB, tight_of_limit=0.80, loose_of_limit=0.40)

WORKER: Final = Resources(Given(500, 1500), Given(512 * MIB, 1536 * MIB))
"""The guide's class of a worker service."""


def advise(observed: Observed, present: Resources) -> Advice:
    """What a container should be given that has this and uses that.

    Requests are never below a floor, limits never below requests, and whoever follows the advice is told to keep it.
    """
    cpu, memory = _fitted(_CPU, observed.cpu, present.cpu), _fitted(_MEMORY, observed.memory, present.memory)
    reasons = (_reason(_CPU, observed.cpu, present.cpu), _reason(_MEMORY, observed.memory, present.memory))
    verdict = _verdict(_direction(present.cpu, cpu), _direction(present.memory, memory))
    return Advice(verdict, Resources(cpu, memory), reasons)


def _fitted(resource: _Resource, used: Used, given: Given) -> Given:
    request = max(given.request, resource.floor)
    fitted = Given(request, max(given.limit, request))
    while _is_tight(resource, used, fitted):
        fitted = _times(resource, fitted, _MORE)
    while _is_loose(resource, used, fitted) and (less := _times(resource, fitted, _LESS)) != fitted:
        fitted = less
    return fitted


def _times(resource: _Resource, given: Given, factor: float) -> Given:
    def rounded(amount: int) -> int:
        grains = -(-round(amount * factor) // resource.grain)
        return max(resource.floor, grains * resource.grain)

    return Given(rounded(given.request), rounded(given.limit))


def _is_tight(resource: _Resource, used: Used, given: Given) -> bool:
    return (
        used.usual > resource.tight_of_request * given.request or used.most > resource.tight_of_limit * given.limit
    )  # fmt: skip


def _is_loose(resource: _Resource, used: Used, given: Given) -> bool:
    return (
        used.usual < resource.loose_of_request * given.request and used.most < resource.loose_of_limit * given.limit
    )  # fmt: skip


def _direction(before: Given, after: Given) -> int:
    """Above 0 where there is more of it, below where there is less."""
    return after.request - before.request or after.limit - before.limit


def _verdict(cpu: int, memory: int) -> Verdict:
    if cpu > 0 and memory > 0:
        return "under-provisioned"
    if cpu > 0:
        return "CPU-bound"
    if memory > 0:
        return "memory-bound"
    return "over-provisioned" if cpu < 0 or memory < 0 else "keep"


def _reason(resource: _Resource, used: Used, given: Given) -> str:
    of_request, of_limit = used.usual / max(1, given.request), used.most / max(1, given.limit)
    return f"{resource.name}: usually up to {of_request:.0%} of the request, at most {of_limit:.0%} of the limit"
