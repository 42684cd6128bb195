"""How a long step is shown to the person who waits for it. The stack tells; who starts it decides what is drawn."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# Takes what is done and how many bytes it is; yields a function that takes the bytes done since its last call.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def silent(_what: str, _total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda _done_bytes: None
