"""Advice on resources: the guide's steps, as many as it takes, and none of them back again."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from freshline.cli.main import EXIT_ERROR, main
from freshline.resources.advice import WORKER, Given, Observed, Resources, Used, advise
from freshline.resources.quantities import MIB, cpu_text, in_bytes, memory_text, millicores
from infra.local.ports import HOST, free_port
from schemas.errors import SettingsError

GIB = 1024 * MIB
# Neither tight nor loose for a worker.
FITTING_CPU = Used(300, 700)
FITTING_MEMORY = Used(300 * MIB, 900 * MIB)


def amounts(most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, most), st.integers(1, most)).map(lambda both: (min(both), max(both)))


OBSERVED = st.builds(
    lambda cpu, memory: Observed(Used(*cpu), Used(*memory)), amounts(64_000), amounts(64 * GIB)
)  # fmt: skip
PRESENT = st.builds(
    lambda cpu, memory: Resources(Given(*cpu), Given(*memory)), amounts(64_000), amounts(64 * GIB)
)  # fmt: skip


@given(OBSERVED, PRESENT)
def test_whoever_follows_the_advice_is_told_to_keep_it(observed: Observed, present: Resources) -> None:
    once = advise(observed, present)
    again = advise(observed, once.resources)
    assert again.verdict == "keep"
    assert again.resources == once.resources


@given(OBSERVED, PRESENT)
def test_requests_keep_above_the_floor_and_below_limits(observed: Observed, present: Resources) -> None:
    wanted = advise(observed, present).resources
    assert 100 <= wanted.cpu.request <= wanted.cpu.limit
    assert 128 * MIB <= wanted.memory.request <= wanted.memory.limit


@given(OBSERVED, PRESENT)
def test_what_was_used_fits(observed: Observed, present: Resources) -> None:
    wanted = advise(observed, present).resources
    assert observed.cpu.usual <= wanted.cpu.request
    assert observed.cpu.most <= wanted.cpu.limit
    assert observed.memory.usual <= wanted.memory.request
    assert observed.memory.most <= wanted.memory.limit


@given(OBSERVED, PRESENT)
def test_who_keeps_gets_what_was_there(observed: Observed, present: Resources) -> None:
    advice = advise(observed, present)
    assert (advice.verdict == "keep") == (advice.resources == present)


@pytest.mark.parametrize(
    ("cpu", "memory", "verdict", "expected"),
    [
        (FITTING_CPU, FITTING_MEMORY, "keep", WORKER),
        # Half as much again of everything.
        (Used(450, 1000), Used(450 * MIB, 900 * MIB), "under-provisioned",
         Resources(Given(750, 2250), Given(768 * MIB, 2304 * MIB))),
        # A quarter less of everything.
        (Used(190, 500), Used(200 * MIB, 500 * MIB), "over-provisioned",
         Resources(Given(380, 1130), Given(384 * MIB, 1152 * MIB))),
        # It is held up at its limit.
        (Used(390, 1500), FITTING_MEMORY, "CPU-bound", Resources(Given(750, 2250), WORKER.memory)),
        # Near to where it is killed.
        (FITTING_CPU, Used(400 * MIB, 1300 * MIB), "memory-bound",
         Resources(WORKER.cpu, Given(768 * MIB, 2304 * MIB))),
        # Only one of both is too much.
        (Used(190, 500), FITTING_MEMORY, "over-provisioned", Resources(Given(380, 1130), WORKER.memory)),
    ],
)  # fmt: skip
def test_the_steps_are_the_guides(cpu: Used, memory: Used, verdict: str, expected: Resources) -> None:
    advice = advise(Observed(cpu, memory), WORKER)
    assert advice.verdict == verdict
    assert advice.resources == expected


def test_one_step_follows_another_until_it_fits() -> None:
    far = advise(Observed(Used(1100, 1200), Used(60 * MIB, 80 * MIB)), WORKER)
    # 500 ▸ 750 ▸ 1130 ▸ 1700, and 512 ▸ 384 ▸ 288 ▸ 224 ▸ 176 ▸ 144.
    assert far.resources.cpu.request == 1700
    assert far.resources.memory.request == 144 * MIB


@pytest.mark.parametrize(("text", "amount"), [("400m", 400), ("0.4", 400), ("2", 2000), ("1.5", 1500)])
def test_amounts_of_cpu_are_read(text: str, amount: int) -> None:
    assert millicores(text) == amount
    assert millicores(cpu_text(amount)) == amount


@pytest.mark.parametrize(("text", "amount"), [("600Mi", 600 * MIB), ("1.5Gi", 1536 * MIB), ("1048576", MIB)])
def test_amounts_of_memory_are_read(text: str, amount: int) -> None:
    assert in_bytes(text) == amount
    assert in_bytes(memory_text(amount)) == amount


@pytest.mark.parametrize("text", ["", "much", "-1", "4 Mi", "0", "1Zi", "0m"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no amount of CPU"):
        millicores(text)
    with pytest.raises(SettingsError, match="is no amount of memory"):
        in_bytes(text)


def advised(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["resources", "advise", *arguments]) == 0
    return capsys.readouterr().out


def test_what_was_seen_by_hand_is_held_against_the_guides_worker(capsys: pytest.CaptureFixture[str]) -> None:
    by_hand = ("write-through", "--cpu-p95", "0.45", "--memory-max", "500Mi")
    printed = advised(capsys, *by_hand)
    assert "under-provisioned" in printed
    assert "500m → 750m" in printed
    (found,) = json.loads(advised(capsys, *by_hand, "--json"))
    assert found["role"] == "write-through"
    assert found["advice"]["resources"]["cpu"] == {"request": 750, "limit": 2250}


def test_a_patch_is_what_kustomize_takes(capsys: pytest.CaptureFixture[str]) -> None:
    by_hand = ("write-through", "--cpu-p95", "0.45", "--memory-max", "350Mi")
    patch = yaml.safe_load(advised(capsys, *by_hand, "--patch"))
    assert patch["metadata"] == {"name": "write-through"}
    assert patch["spec"]["template"]["spec"]["containers"] == [
        {
            "name": "freshline",
            "resources": {
                "requests": {"cpu": "750m", "memory": "512Mi"},
                "limits": {"cpu": "2250m", "memory": "1536Mi"},
            },
        }
    ]
    more = (*by_hand, "--patch", "--cpu-request", "750m", "--cpu-limit", "2250m")
    assert yaml.safe_load(advised(capsys, *more)) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say where Prometheus is"),
        (["write-through", "--cpu-p95", "1"], "say where Prometheus is"),
        (["write-through", "--cpu-p95", "one", "--memory-max", "1Gi"], "'one' is no amount of CPU"),
        (["--prometheus", "prometheus:9090"], "Prometheus at prometheus:9090 can't be asked"),
    ],
)
def test_what_can_not_be_advised_on_says_what_to_do(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resources", "advise", *arguments]) == EXIT_ERROR
    printed = capsys.readouterr().err
    assert told in printed
    assert "Traceback" not in printed


def test_a_prometheus_that_is_away_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://{HOST}:{free_port()}"
    assert main(["resources", "advise", "--prometheus", url]) == EXIT_ERROR
    assert f"Prometheus at {url} can't be asked" in capsys.readouterr().err
