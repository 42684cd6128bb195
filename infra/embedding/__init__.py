"""Embedding: what a text means, as a vector of a model that runs in this process."""
