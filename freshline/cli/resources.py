"""``freshline resources``: what roles should be given of CPU and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from freshline.cli.console import WIDTH_OF_A_FILE, wide_console
from freshline.resources.advice import WORKER, Advice, Given, Observed, Resources, Used, advise
from freshline.resources.quantities import cpu_text, in_bytes, memory_text, millicores
from freshline.resources.seen import Seen, seen
from schemas.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Say what roles should be given of CPU and memory.")

_STYLES: Final = {"keep": "green", "over-provisioned": "yellow"}
_PATCH: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {role}
spec:
  template:
    spec:
      containers:
        - name: freshline
          resources:
            requests: {{cpu: {cpu_request}, memory: {memory_request}}}
            limits: {{cpu: {cpu_limit}, memory: {memory_limit}}}
"""


class Advised(msgspec.Struct, frozen=True):
    """Of one role what is known, and what follows."""

    role: str
    observed: Observed
    present: Resources
    advice: Advice


@app.callback()
def _group() -> None:
    """Keep ``advise`` a command of its own, also while it is the only one."""


@app.command("advise")
def advise_(
    roles: Annotated[list[str] | None, typer.Argument(help="Which of them; all without one.")] = None,
    *,
    prometheus: Annotated[str | None, typer.Option(help="Where Prometheus is, which knows what was used.")] = None,
    namespace: Annotated[str, typer.Option(help="Where the pods are.")] = "freshline",
    days: Annotated[int, typer.Option(min=1, help="Over how many days.")] = 7,
    cpu_p95: Annotated[str | None, typer.Option(help="Instead: CPU used for 95 % of the time, 400m say.")] = None,
    memory_max: Annotated[str | None, typer.Option(help="And the most memory, 600Mi say.")] = None,
    cpu_request: Annotated[str, typer.Option(help="Then also what is given now.")] = cpu_text(WORKER.cpu.request),
    cpu_limit: Annotated[str, typer.Option()] = cpu_text(WORKER.cpu.limit),
    memory_request: Annotated[str, typer.Option()] = memory_text(WORKER.memory.request),
    memory_limit: Annotated[str, typer.Option()] = memory_text(WORKER.memory.limit),
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    patch: Annotated[bool, typer.Option("--patch", help="Print a patch for kustomize.")] = False,
) -> None:
    """Say what requests and limits should be: half as much again, a quarter less, or as they are.

    What was used is asked of Prometheus, or given by hand for one role.
    """
    if prometheus is not None:
        known = _chosen(seen(prometheus, namespace=namespace, days=days), roles)
    elif cpu_p95 is not None and memory_max is not None and roles and len(roles) == 1:
        cpu, memory = millicores(cpu_p95), in_bytes(memory_max)
        present = Resources(
            Given(millicores(cpu_request), millicores(cpu_limit)),
            Given(in_bytes(memory_request), in_bytes(memory_limit)),
        )
        known = [Seen(roles[0], Observed(Used(cpu, cpu), Used(memory, memory)), present)]
    else:
        raise SettingsError(
            "It is not known what was used: say where Prometheus is (--prometheus http://…), or name one role and what"
            " you saw (freshline resources advise write-through --cpu-p95 400m --memory-max 600Mi)."
        )
    advised = [Advised(each.role, each.observed, each.present, advise(each.observed, each.present)) for each in known]
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(advised)).decode())
    elif patch:
        patches = [_patch(each) for each in advised if each.advice.verdict != "keep"]
        typer.echo("---\n".join(patches) if patches else "# Nothing to change.\n", nl=False)
    else:
        wide_console(WIDTH_OF_A_FILE).print(_table(advised))


def _chosen(known: Sequence[Seen], roles: Sequence[str] | None) -> Sequence[Seen]:
    names = [each.role for each in known]
    unknown = sorted(set(roles or ()) - set(names))
    if unknown:
        raise SettingsError(f"Prometheus does not know the role {', '.join(unknown)}. It knows: {', '.join(names)}.")
    return [each for each in known if not roles or each.role in roles]


def _patch(advised: Advised) -> str:
    cpu, memory = advised.advice.resources.cpu, advised.advice.resources.memory
    return _PATCH.format(
        role=advised.role,
        cpu_request=cpu_text(cpu.request),
        cpu_limit=cpu_text(cpu.limit),
        memory_request=memory_text(memory.request),
        memory_limit=memory_text(memory.limit),
    )


def _table(advised: Sequence[Advised]) -> RenderableType:
    """A line for each role, and below why."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("role", "advice", "CPU request", "CPU limit", "memory request", "memory limit"):
        table.add_column(name, overflow="fold")
    for each in advised:
        before, after = each.present, each.advice.resources
        table.add_row(
            each.role,
            Text(each.advice.verdict, style=_STYLES.get(each.advice.verdict, "red")),
            _change(cpu_text(before.cpu.request), cpu_text(after.cpu.request)),
            _change(cpu_text(before.cpu.limit), cpu_text(after.cpu.limit)),
            _change(memory_text(before.memory.request), memory_text(after.memory.request)),
            _change(memory_text(before.memory.limit), memory_text(after.memory.limit)),
        )
    reasons = [Text(f"{each.role}: {'; '.join(each.advice.reasons)}", style="dim") for each in advised]
    return Group(table, *reasons)


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"
