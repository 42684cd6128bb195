"""The front door: what a service imports and what an operator runs.

async with freshline.open(settings, catalog) as cache:
    user = await cache.get("users", 42)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from freshline.shadowing import check_packages

check_packages()

if TYPE_CHECKING:
    from freshline.cache import Cache as Cache
    from freshline.cache import Mode as Mode
    from freshline.opening import open as open  # noqa: A004 - called as freshline.open
    from freshline.sync import SyncCache as SyncCache
    from freshline.sync import open_sync as open_sync
    from schemas.token import WriteToken as WriteToken

# Where each public name lives. They are imported when first used: the command line has no use for the read side.
_HOMES = {
    "Cache": "freshline.cache",
    "Mode": "freshline.cache",
    "SyncCache": "freshline.sync",
    "WriteToken": "schemas.token",
    "open": "freshline.opening",
    "open_sync": "freshline.sync",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'freshline' has no attribute {name!r}")
    return getattr(import_module(home), name)
