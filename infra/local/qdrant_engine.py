"""Collections of Qdrant's own engine (Qdrant Edge, the shard of its server as a library), by REST's words.

No package registry has Qdrant's server, so the local stack brings its engine behind as much of its REST interface as
Freshline uses (``qdrant_server.py``). What it does not offer is refused by name, never guessed at. It builds an index
over vectors only when it is told to, since the engine holds the whole process up meanwhile; without one, all vectors
that a filter leaves are compared.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import qdrant_edge as edge

from schemas.errors import FreshlineError

_DISTANCES: Final = {
    "Cosine": edge.Distance.Cosine,
    "Dot": edge.Distance.Dot,
    "Euclid": edge.Distance.Euclid,
}
_INDEXES: Final = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
}
# A collection without vectors: the engine wants one all the same.
_NO_VECTOR: Final = {"unused": edge.EdgeVectorParams(size=1, distance=edge.Distance.Dot)}
_PAGE: Final = 10


class NotOfferedError(FreshlineError):
    """Something of Qdrant was asked for that the local server does not offer."""


class NoSuchCollectionError(FreshlineError):
    """There is no collection of this name."""


class CollectionExistsError(FreshlineError):
    """There is a collection of this name already."""


class Collection:
    """One collection: a shard, used by one call at a time."""

    def __init__(self, shard: edge.EdgeShard, config: Mapping[str, Any]) -> None:
        self.config = config
        self._shard = shard
        self._lock = threading.Lock()
        self._operations: Mapping[str, Callable[[Any], None]] = {
            "upsert": self.upsert,
            "delete": self.delete,
            "set_payload": self.set_payload,
        }

    def close(self) -> None:
        """Write everything and let go of the files."""
        with self._lock:
            self._shard.close()

    def info(self) -> dict[str, Any]:
        """As ``GET /collections/{name}`` has it."""
        with self._lock:
            found = self._shard.info()
        vectors = self.config.get("vectors") or {}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": found.points_count,
            "indexed_vectors_count": found.indexed_vectors_count,
            "segments_count": found.segments_count,
            "payload_schema": {},
            "config": {
                "params": {"vectors": vectors, "shard_number": 1, "replication_factor": 1, "on_disk_payload": True},
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
                "metadata": self.config.get("metadata"),
            },
        }

    # Writing.

    def index(self, field: str, kind: Any) -> None:
        """Index a field of the payload; ``kind`` is the name of its type, or holds it."""
        name = kind["type"] if isinstance(kind, Mapping) else kind
        if name not in _INDEXES:
            raise NotOfferedError(f"The local Qdrant has no index of type {name!r}.")
        self._update(edge.UpdateOperation.create_field_index(field, _INDEXES[name]))

    def upsert(self, request: Mapping[str, Any]) -> None:
        """Insert points, and update those that exist where they match the filter."""
        points = [edge.Point(p["id"], p.get("vector") or {}, p.get("payload") or {}) for p in request["points"]]
        self._update(edge.UpdateOperation.upsert_points(points, condition=_filter(request.get("update_filter"))))

    def delete(self, request: Mapping[str, Any]) -> None:
        """Delete points, by their ids or by a filter."""
        if "filter" in request:
            self._update(edge.UpdateOperation.delete_points_by_filter(_filter(request["filter"])))
        else:
            self._update(edge.UpdateOperation.delete_points(list(request["points"])))

    def set_payload(self, request: Mapping[str, Any]) -> None:
        """Set fields of the payload of points, given by their ids or by a filter."""
        if request.get("filter") is not None:
            operation = edge.UpdateOperation.set_payload_by_filter(_filter(request["filter"]), dict(request["payload"]))
        else:
            operation = edge.UpdateOperation.set_payload(list(request["points"]), dict(request["payload"]))
        self._update(operation)

    def batch(self, operations: Sequence[Mapping[str, Any]]) -> None:
        """Several of these, one after the other."""
        for operation in operations:
            ((name, request),) = operation.items()
            if name not in self._operations:
                raise NotOfferedError(f"The local Qdrant has no operation {name!r}.")
            self._operations[name](request)

    def optimise(self) -> None:
        """Build an index over the vectors: minutes for a hundred thousand, and nothing else happens meanwhile."""
        with self._lock:
            self._shard.optimize()

    def _update(self, operation: edge.UpdateOperation) -> None:
        with self._lock:
            self._shard.update(operation)

    # Reading.

    def retrieve(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Points by their ids; those that do not exist are left out."""
        with self._lock:
            found = self._shard.retrieve(list(request["ids"]), *_with(request))
        return [_record(each) for each in found]

    def query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The points nearest to a vector, or any where no vector is given."""
        wanted = request.get("query")
        if isinstance(wanted, Mapping):
            if set(wanted) - {"nearest"}:
                raise NotOfferedError("The local Qdrant answers queries by a vector alone.")
            wanted = wanted.get("nearest")
        with_payload, with_vector = _with(request, payload=False)
        params = request.get("params") or {}
        query = edge.QueryRequest(
            limit=request.get("limit") or _PAGE,
            offset=request.get("offset"),
            query=None if wanted is None else edge.Query.Nearest(wanted),
            filter=_filter(request.get("filter")),
            score_threshold=request.get("score_threshold"),
            with_payload=with_payload,
            with_vector=with_vector,
            params=edge.SearchParams(exact=bool(params.get("exact")), hnsw_ef=params.get("hnsw_ef")),
        )
        with self._lock:
            found = self._shard.query(query)
        return {"points": [{**_record(each), "score": each.score, "version": each.version} for each in found]}

    def scroll(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A page of points, in the order of their ids."""
        with_payload, with_vector = _with(request)
        scroll = edge.ScrollRequest(
            offset=request.get("offset"),
            limit=request.get("limit") or _PAGE,
            filter=_filter(request.get("filter")),
            with_payload=with_payload,
            with_vector=with_vector,
        )
        with self._lock:
            found, after = self._shard.scroll(scroll)
        return {
            "points": [_record(each) for each in found],
            "next_page_offset": after if after is None or isinstance(after, int) else str(after),
        }

    def count(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """How many points match a filter."""
        with self._lock:
            found = self._shard.count(edge.CountRequest(exact=True, filter=_filter(request.get("filter"))))
        return {"count": found}


class Engine:
    """All collections of a folder, and their aliases. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Open what is there."""
        self._folder = folder
        self._file = folder / "collections.json"
        self._lock = threading.RLock()
        self._configs: dict[str, dict[str, Any]] = {}
        self.aliases: dict[str, str] = {}
        if self._file.exists():
            stored = json.loads(self._file.read_text())
            self._configs, self.aliases = stored["collections"], stored["aliases"]
        self._collections = {
            name: Collection(edge.EdgeShard.load(str(folder / config["folder"])), config)
            for name, config in self._configs.items()
        }

    def close(self) -> None:
        """Close every collection."""
        with self._lock:
            for collection in self._collections.values():
                collection.close()

    @property
    def names(self) -> list[str]:
        """The names of all collections."""
        return list(self._collections)

    def collection(self, name: str) -> Collection:
        """The collection of this name, or of this alias.

        Raises:
            NoSuchCollectionError: there is none.
        """
        with self._lock:
            found = self._collections.get(self.aliases.get(name, name))
        if found is None:
            raise NoSuchCollectionError(f"Collection `{name}` doesn't exist!")
        return found

    def create(self, name: str, request: Mapping[str, Any]) -> None:
        """Make a collection of one unnamed vector, or of none.

        Raises:
            CollectionExistsError: there is one.
        """
        with self._lock:
            if name in self._collections or name in self.aliases:
                raise CollectionExistsError(f"Collection `{name}` already exists!")
            vectors = request.get("vectors") or {}
            params: Any = _NO_VECTOR
            if vectors:
                params = edge.EdgeVectorParams(size=vectors["size"], distance=_DISTANCES[vectors["distance"]])
            # A folder of a collection that was deleted may still be open, so none is used twice.
            place = f"{len(list(self._folder.iterdir()))}-{name}".replace("/", "_")
            shard = edge.EdgeShard.create(str(self._folder / place), edge.EdgeConfig(vectors=params))
            config = {"folder": place, "vectors": vectors, "metadata": request.get("metadata")}
            self._collections[name] = Collection(shard, config)
            self._configs[name] = config
            self._write()

    def delete(self, name: str) -> bool:
        """Delete a collection and its aliases; False where there is none."""
        with self._lock:
            collection = self._collections.pop(name, None)
            if collection is None:
                return False
            config = self._configs.pop(name)
            self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}
            self._write()
        collection.close()
        shutil.rmtree(self._folder / config["folder"], ignore_errors=True)
        return True

    def change_aliases(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """Create and delete aliases, all at once."""
        with self._lock:
            aliases = dict(self.aliases)
            for action in actions:
                ((what, request),) = action.items()
                if what == "create_alias":
                    if request["collection_name"] not in self._collections:
                        raise NoSuchCollectionError(f"Collection `{request['collection_name']}` doesn't exist!")
                    aliases[request["alias_name"]] = request["collection_name"]
                elif what == "delete_alias":
                    aliases.pop(request["alias_name"], None)
                else:
                    raise NotOfferedError(f"The local Qdrant can't {what}.")
            self.aliases = aliases
            self._write()

    def _write(self) -> None:
        unfinished = self._file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"collections": self._configs, "aliases": self.aliases}))
        unfinished.replace(self._file)


def _with(request: Mapping[str, Any], *, payload: bool = True) -> tuple[Any, Any]:
    """Whether payload and vectors are wanted."""
    with_payload = request.get("with_payload")
    return payload if with_payload is None else with_payload, request.get("with_vector") or False


def _record(found: Any) -> dict[str, Any]:
    vector = found.vector or None
    identity = found.id if isinstance(found.id, int) else str(found.id)
    return {"id": identity, "payload": found.payload, "vector": vector}


def _filter(found: Mapping[str, Any] | None) -> Any:
    if found is None:
        return None
    unknown = set(found) - {"must", "should", "must_not"}
    if any(found[name] is not None for name in unknown):
        raise NotOfferedError(f"The local Qdrant has no filter by {', '.join(sorted(unknown))}.")
    must, should, must_not = (_conditions(found.get(name)) for name in ("must", "should", "must_not"))
    return edge.Filter(must=must, should=should, must_not=must_not)


def _conditions(found: Any) -> list[Any] | None:
    if not found:
        return None
    return [_condition(each) for each in (found if isinstance(found, list) else [found])]


def _condition(found: Mapping[str, Any]) -> Any:
    given = {name: value for name, value in found.items() if value is not None}
    if "has_id" in given:
        return edge.HasIdCondition(set(given["has_id"]))
    if "key" not in given:
        return _filter(given)
    match, span = given.get("match"), given.get("range")
    if match is not None and "value" in match:
        return edge.FieldCondition(given["key"], match=edge.MatchValue(match["value"]))
    if match is not None and "any" in match:
        return edge.FieldCondition(given["key"], match=edge.MatchAny(match["any"]))
    if span is not None:
        limits = {name: value for name, value in span.items() if value is not None}
        return edge.FieldCondition(given["key"], range=edge.RangeFloat(**limits))
    raise NotOfferedError(f"The local Qdrant has no condition {sorted(given)}.")
