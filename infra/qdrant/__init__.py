"""Qdrant: the index of passages and of cached questions, and the rules that keep it in order."""
