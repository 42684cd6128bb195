"""Streams: Faust agents and tables, for work that needs state or time."""
