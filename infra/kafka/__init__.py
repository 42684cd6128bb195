"""Kafka: the topics, a group's place in the log, and a producer."""
