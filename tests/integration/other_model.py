"""A second model for tests, made of the packaged one without a network: its vectors turned, and shortened."""

from __future__ import annotations

from pathlib import Path

from infra.embedding.models import load_model
from infra.settings import DEFAULT_MODEL, EmbeddingSettings

DIMENSION = 256


def make_other_model(folder: Path) -> str:
    """Save a model of other vectors, of another dimension, that means the same by them; returns its path."""
    import torch  # noqa: PLC0415 - takes seconds
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer.modules import Dense  # noqa: PLC0415

    model = load_model(DEFAULT_MODEL, EmbeddingSettings(device="cpu"))
    own = model.get_embedding_dimension()
    dense = Dense(own, DIMENSION, bias=False, activation_function=torch.nn.Identity())
    turned = torch.linalg.qr(torch.randn(own, own, generator=torch.Generator().manual_seed(7)))[0]
    dense.linear.weight.data = turned[:DIMENSION].contiguous()
    SentenceTransformer(modules=[model[0], model[1], dense], device="cpu").save(str(folder))
    return str(folder)
