"""Refreshers that die at a step of their work, again and again: ``python -m tests.faults.nursery FOLDER``.

The nursery has the model's library loaded, so that a child that follows another one is at work in a second. Each child
is told at which step to die, and after how many times; it dies as by ``kill -9``: nothing is cleaned up. The folder has
`child` (the present child's process id), `deaths` (the steps so far), `embedded` (a digest for each text embedded), and
`peace`, which a test puts there so that nobody dies any more.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

STEPS: Final = ("passages", "heads", "sweep", "apply")
_SOONEST, _LATEST = 1, 4


def _doomed(folder: Path, step: str, times: int) -> None:
    """Let this process die after so many times of the step, and write down what it embeds."""
    from infra.embedding.embedder import Embedder  # noqa: PLC0415 - after the fork
    from infra.qdrant.passages import PassageStore  # noqa: PLC0415
    from infra.redis.coherence import Coherence  # noqa: PLC0415
    from schemas.passages import digest  # noqa: PLC0415

    left = times

    def dying(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(self: Any, *arguments: Any, **more: Any) -> Any:
            nonlocal left
            result = await wrapped(self, *arguments, **more)
            # A step that had nothing to do is no step.
            left -= bool(arguments and arguments[0])
            if left <= 0:
                with (folder / "deaths").open("a") as deaths:
                    deaths.write(f"{step}\n")
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    owner, name = {
        "passages": (PassageStore, "put_passages"),
        "heads": (PassageStore, "put_heads"),
        "sweep": (PassageStore, "sweep"),
        "apply": (Coherence, "apply"),
    }[step]
    setattr(owner, name, dying(getattr(owner, name)))
    encode = Embedder.encode

    async def encode_and_tell(self: Embedder, texts: Sequence[str]) -> Any:
        found = await encode(self, texts)
        with (folder / "embedded").open("a") as embedded:
            embedded.write("".join(f"{digest(text)}\n" for text in texts))
        return found

    Embedder.encode = encode_and_tell  # type: ignore[method-assign]


def _child(folder: Path, step: str, times: int) -> None:
    from freshline.cli.main import main  # noqa: PLC0415 - after the fork

    _doomed(folder, step, times)
    os._exit(main(["run", "semantic-refresh"]))


def main() -> None:
    """Have one child after the other until told to end."""
    import sentence_transformers  # noqa: F401, PLC0415 - what takes long

    folder = Path(sys.argv[1])
    random = Random(str(folder))
    child = 0

    def end(*_: object) -> None:
        if child:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    number = random.randrange(len(STEPS))
    while True:
        is_peace = (folder / "peace").exists()
        times = 1 << 30 if is_peace else random.randint(_SOONEST, _LATEST)
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _child(folder, STEPS[number % len(STEPS)], times)
        (folder / "child").write_text(str(child))
        os.waitpid(child, 0)
        number += 1


if __name__ == "__main__":
    main()
