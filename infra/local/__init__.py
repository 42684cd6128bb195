"""Postgres, Valkey, Kafka and Connect with Debezium as processes of this machine: for `freshline up` and the tests."""
