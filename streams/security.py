"""How we reach Kafka, in Faust's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT
from yarl import URL


def brokers(arguments: Mapping[str, Any]) -> list[URL]:
    """The servers that ``KafkaSettings.client_arguments`` names."""
    return [URL(f"kafka://{server.strip()}") for server in arguments["bootstrap_servers"].split(",")]


def credentials(arguments: Mapping[str, Any]) -> CredentialsT | None:
    """Who we are and whom we trust; None where nobody asks."""
    protocol, context = arguments["security_protocol"], arguments.get("ssl_context")
    if protocol == "SSL":
        return SSLCredentials(context)
    if protocol == "PLAINTEXT":
        return None
    return SASLCredentials(
        username=arguments["sasl_plain_username"],
        password=arguments["sasl_plain_password"],
        ssl_context=context,
        mechanism=arguments["sasl_mechanism"],
    )
