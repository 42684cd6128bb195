-- name: moment
-- Arguments: none.
-- Promise: one moment of the primary: what a statement sees now, how far the log has been written, and its timeline.
SELECT pg_current_snapshot()::text, (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8, pg_is_in_recovery();

-- name: identity
-- Arguments: the name of the replication slot.
-- Promise: what the log is of: the cluster's system identifier, the timeline that it writes to now, and the generation of
-- the slot that Debezium reads, null where none was recorded.
SELECT
    (pg_control_system()).system_identifier::text,
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8),
    (SELECT generation::text FROM freshline.slot WHERE slot_name = $1);

-- name: transaction_status
-- Arguments: a 64-bit transaction id.
-- Promise: 'in progress', 'committed' or 'aborted'; null where it is too old to know; an error where no such id was given out yet.
SELECT pg_xact_status(($1::int8)::text::xid8);
