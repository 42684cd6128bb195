"""What roles used, and what they are given, as Prometheus knows it from the kubelet and from kube-state-metrics.

A role is the name of a Deployment, which is the beginning of its pods' names. Of a role's pods the one that used most
counts: all of them are given the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import httpx
import msgspec

from freshline.resources.advice import Given, Observed, Resources, Used
from schemas.errors import FreshlineError, StoreUnavailableError

_TIMEOUT_S: Final = 60.0
_CONTAINER: Final = "freshline"
# Of a pod's name the Deployment's part; pods of Jobs have none.
_BY_ROLE: Final = 'max by (role) (label_replace({}, "role", "$1", "pod", "(.+)-[a-z0-9]+-[a-z0-9]{{5}}"))'
_CPU: Final = "rate(container_cpu_usage_seconds_total{{{pods}}}[5m])[{days}d:5m]"
_MEMORY: Final = "container_memory_working_set_bytes{{{pods}}}[{days}d]"
_QUERIES: Final = {
    "CPU's 95 %": f"quantile_over_time(0.95, {_CPU})",
    "CPU's most": f"max_over_time({_CPU})",
    "memory's 95 %": f"quantile_over_time(0.95, {_MEMORY})",
    "memory's most": f"max_over_time({_MEMORY})",
    "CPU's request": 'kube_pod_container_resource_requests{{{pods},resource="cpu"}}',
    "CPU's limit": 'kube_pod_container_resource_limits{{{pods},resource="cpu"}}',
    "memory's request": 'kube_pod_container_resource_requests{{{pods},resource="memory"}}',
    "memory's limit": 'kube_pod_container_resource_limits{{{pods},resource="memory"}}',
}
_MILLI: Final = 1000.0


class NothingSeenError(FreshlineError):
    """Prometheus knows too little of our pods to say anything of their resources."""


class RefusedQueryError(FreshlineError):
    """Prometheus answered, and refused what it was asked: the message holds its own words."""


class Seen(msgspec.Struct, frozen=True):
    """What Prometheus knows of one role."""

    role: str
    observed: Observed
    present: Resources


class _Result(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(msgspec.Struct):
    result: list[_Result]


class _Answer(msgspec.Struct):
    data: _Data


def seen(url: str, *, namespace: str, days: int) -> list[Seen]:
    """Of each role in a namespace what it used in the last days, and what it has now.

    Raises:
        StoreUnavailableError: Prometheus does not answer.
        RefusedQueryError: it refuses.
        NothingSeenError: of no role everything is known; the message says what is missing.
    """
    pods = f'namespace="{namespace}",container="{_CONTAINER}"'
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as http:
        try:
            found = {
                name: _by_role(http, _BY_ROLE.format(query.format(pods=pods, days=days)))
                for name, query in _QUERIES.items()
            }
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
            raise StoreUnavailableError(
                f"Prometheus at {url} can't be asked: {str(error).rstrip('.') or repr(error)}."
                " See that it runs, and that the address is right."
            ) from error
    known = [role for role in sorted(set[str]().union(*found.values())) if all(role in each for each in found.values())]
    if not known:
        missing = [name for name, each in found.items() if not each]
        raise NothingSeenError(
            f"Prometheus at {url} does not know of any role in the namespace {namespace} everything that is needed"
            f" (missing: {', '.join(missing) or 'something of each'}). Use is scraped from kubelets (cAdvisor), and"
            " requests and limits from kube-state-metrics. Without them, name one role and what you saw:"
            " --cpu-p95 400m --memory-max 600Mi."
        )
    return [_of(role, {name: each[role] for name, each in found.items()}) for role in known]


def _of(role: str, known: Mapping[str, float]) -> Seen:
    def cpu(name: str) -> int:
        return round(known[f"CPU's {name}"] * _MILLI)

    def memory(name: str) -> int:
        return round(known[f"memory's {name}"])

    return Seen(
        role,
        Observed(Used(cpu("95 %"), cpu("most")), Used(memory("95 %"), memory("most"))),
        Resources(Given(cpu("request"), cpu("limit")), Given(memory("request"), memory("limit"))),
    )


def _by_role(http: httpx.Client, query: str) -> dict[str, float]:
    response = http.post("/api/v1/query", data={"query": query})
    if response.status_code in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
        raise RefusedQueryError(f"Prometheus refused a query: {response.text.strip()}. Ask for fewer --days.")
    response.raise_for_status()
    answer = msgspec.json.decode(response.content, type=_Answer)
    return {each.metric["role"]: float(each.value[1]) for each in answer.data.result if each.metric.get("role")}
