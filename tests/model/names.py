"""The rules of the protocol that the model can leave out, each with the sentence that DESIGN or a finding gives it.

The switches exist in the model alone: production code has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

LeftOut = frozenset[str]
ALL_RULES: Final[LeftOut] = frozenset()

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Lease
        "lease": "A fill is stored only if the placeholder still carries its lease's token.",
        "lease-keeps-floor": "A lease keeps the floor beneath it.",
        "random-tokens": "Lease tokens are random; a counter that restarts with a lost key is unsound.",
        # Snapshot
        "read-after-lease": "The filler reads the row only after it has the lease.",
        "one-statement": "Row and snapshot are read in one statement.",
        "running-transactions": "A snapshot does not contain what is in progress (xip), although it is below xmax.",
        "not-xmin": "Whether a change is in is answered by the whole snapshot, never by xmin, which a bystander pins.",
        # Event
        "event-kills-lease": "An event that is not contained must kill a lease.",
        "event-replaces": "An event that is not contained must replace the entry.",
        "event-keeps-snapshot": "An entry that an event replaces keeps its reader's snapshot, not the worker's.",
        "old-event-kills-lease": "Events older than a floor may not create, but still kill leases.",
        # Sight
        "sight": "A batch is applied only when its transactions are visible on the primary.",
        "sight-of-unreadable": "What can't be read is dropped only once every transaction of its time has ended.",
        # Watermark
        "watermark": "A batch changes nothing unless the stored offset is the one it builds on.",
        "watermark-with-effects": "The watermark moves in the same step as the effects.",
        "idle-check": "An idle worker checks its watermark too.",
        # Epoch
        "epoch": "A watermark that no longer fits the log begins a new epoch.",
        "epoch-in-entries": "Every entry carries the epoch's generation.",
        "epoch-floor": "Events older than the beginning of the epoch create nothing.",
        "epoch-floor-after": "The epoch's floor is read after the epoch has begun; until then no event creates.",
        "epoch-keeps-table-floors": "A new epoch of the same log keeps the floors of tables.",
        "epoch-forgets-watermarks": "A new epoch of another log forgets the watermarks of the old one.",
        # Floor
        "floor": "A writer that invalidates leaves a floor: older events may not create.",
        "floor-by-lsn": "The floor is an LSN, since transaction ids are not in the order of commits.",
        "only-invalidates-floor": "An event that only invalidates leaves a floor too.",
        "truncate-floor": "Under the floor that TRUNCATE leaves no event may create an entry.",
        "truncate-fills": "TRUNCATE refuses fills whose snapshot lacks it.",
        "stale-keeps-snapshot": "What a table's floor made stale goes on saying what it contains.",
        "token": "A read that presents a token never gets an older copy.",
        # 8 and 10
        "age": "An event older than the entry's TTL never creates an entry.",
        "age-in-script": "How old an event is counts when it is applied, not when its batch was made.",
        "witness": "A reader that went past a lease leaves its snapshot on the placeholder.",
        "witness-value": "A reader that went past a lease replaces a value that its snapshot contains.",
        # Cached queries
        "generations-first": "A fill takes its tags' generations before it reads.",
        "query-lease": "A result is stored only under a lease of the present epoch.",
        "never-recreate": "A fill never re-creates a generation that is missing.",
        "random-generations": "Generations are random; a counter that restarts with a lost tag is unsound.",
        "read-again": "A reader that learns a tag from what it read takes its generation and then reads again.",
        "watermark-alone": "A tag is dropped whether or not the row's entry contained the event.",
        "old-and-new": "An event drops the tags of its row's old and new values.",
        # Processes' own memories
        "same-subscription": "A copy is kept only if its read began and ended in the same subscription.",
        "every-notice": "Every applied event is published, also where Redis held nothing or contained it.",
        "position-before-read": "The position in the notices is noted before the database is read.",
        "empties-on-loss": "A process that lost its connection empties its memory.",
        "ring": "Notices that came during a read are remembered for tags that only the reply names.",
        "epoch-notice": "A new epoch is published too.",
    }
)
