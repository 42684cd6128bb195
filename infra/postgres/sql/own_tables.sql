-- The tables of Freshline's own schema in the followed database. A few rows each.

-- name: heartbeat
-- Arguments: none.
-- Promise: holds at most one row, which Debezium's heartbeat query moves.
CREATE TABLE freshline.heartbeat (
    id int PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    beat_at timestamptz NOT NULL DEFAULT now()
);

-- name: slot
-- Arguments: none.
-- Promise: one row for each slot that the copies may be made from. The generation is new whenever the slot was made
-- anew; no row means that no log is followed (yet), so nothing may be cached from it.
CREATE TABLE freshline.slot (
    slot_name text PRIMARY KEY,
    generation uuid NOT NULL DEFAULT gen_random_uuid(),
    created_lsn pg_lsn NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- name: changed_identity
-- Arguments: none.
-- Promise: what the replica identity of a table was before Freshline first changed it.
CREATE TABLE freshline.changed_identity (
    table_schema text NOT NULL,
    table_name text NOT NULL,
    identity_before "char" NOT NULL,
    index_before text,
    PRIMARY KEY (table_schema, table_name)
);
