"""The state of every group, from one request to each broker; for groups of the old protocol and of the new (KIP-848).

The driver speaks no version of this request that tells states, so the messages of one are described here.
"""

from __future__ import annotations

from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Schema, TaggedFields


class _ListGroupsResponseV4(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 16
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "groups",
            CompactArray(
                ("group_id", CompactString("utf-8")),
                ("protocol_type", CompactString("utf-8")),
                ("group_state", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ListGroupsRequestV4(RequestStruct):  # type: ignore[misc]
    API_KEY = 16
    API_VERSION = 4
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _ListGroupsResponseV4
    SCHEMA = Schema(("states_filter", CompactArray(CompactString("utf-8"))), ("tags", TaggedFields))


class _ListGroupsRequest(Request[_ListGroupsRequestV4]):  # type: ignore[misc]
    API_KEY = 16

    def build(self, request_struct_class: type[_ListGroupsRequestV4]) -> _ListGroupsRequestV4:
        return request_struct_class(states_filter=[], tags={})


async def group_states(client: AIOKafkaClient, node: int) -> dict[str, str]:
    """The states (``Stable``, ``Empty`` …) of the groups that a broker coordinates, by their names.

    Raises:
        KafkaError: it does not answer, or is too old (before 2.6) to say.
    """
    response: Any = await client.send(node, _ListGroupsRequest())
    if response.error_code:
        raise for_code(response.error_code)
    return {group: state for group, _, state, *_ in response.groups}
