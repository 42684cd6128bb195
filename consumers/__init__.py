"""Kafka workers: one loop, and one small sink a purpose."""
