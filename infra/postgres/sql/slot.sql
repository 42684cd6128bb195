-- The slot that the copies are made from, and its generation: which making of it they were made from.

-- name: recorded
-- Arguments: $1 text name of the slot.
-- Promise: at most one row; none while no log is followed from its beginning.
SELECT generation, (created_lsn - '0/0'::pg_lsn)::bigint AS created_lsn FROM freshline.slot WHERE slot_name = $1;

-- name: record
-- Arguments: $1 text name of the slot.
-- Promise: notes a generation for a slot that exists and has none yet, and returns it; no row where it has one.
INSERT INTO freshline.slot (slot_name, created_lsn)
SELECT slot_name, restart_lsn FROM pg_replication_slots WHERE slot_name = $1
ON CONFLICT (slot_name) DO NOTHING
RETURNING generation;

-- name: forget
-- Arguments: $1 text name of the slot.
-- Promise: no generation of it is noted, so nothing new is cached from it.
DELETE FROM freshline.slot WHERE slot_name = $1;

-- name: drop
-- Arguments: $1 text name of the slot.
-- Promise: the slot is gone and holds no log back; an error while it is read.
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1;

-- name: horizon
-- Arguments: none.
-- Promise: every transaction that runs now has a lower id than this. It takes an id of its own, since a snapshot's xmax
-- is only the end of what has completed: what runs may lie beyond it.
SELECT pg_current_xact_id()::text::bigint AS xid;

-- name: running_before
-- Arguments: $1 bigint a horizon.
-- Promise: one row while a transaction below it still runs, with the oldest session that writes (null where there is
-- none: a prepared transaction); no row when all of them are over and visible.
SELECT (SELECT format('backend %s of %s (%s), begun at %s', pid, usename, application_name, xact_start::timestamptz(0))
          FROM pg_stat_activity
         WHERE backend_xid IS NOT NULL
         ORDER BY xact_start LIMIT 1) AS oldest
 WHERE EXISTS (SELECT FROM pg_snapshot_xip(pg_current_snapshot()) AS xid WHERE xid::text::bigint < $1);
