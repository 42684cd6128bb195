"""Kafka Connect: its REST interface, and what Debezium's connector is configured to be."""
