-- What a database is like before and after Freshline prepares it. All of these only read, and read only the catalogs.

-- name: server
-- Arguments: none.
-- Promise: one row about the server, the database and the one who asks.
SELECT current_setting('server_version_num')::int AS version_num,
       current_setting('wal_level') AS wal_level,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS max_slot_wal_keep_mb,
       current_setting('max_replication_slots')::int AS max_replication_slots,
       (SELECT count(*)::int FROM pg_replication_slots) AS replication_slots,
       current_setting('max_wal_senders')::int AS max_wal_senders,
       pg_is_in_recovery() AS in_recovery,
       current_database()::text AS database,
       current_user::text AS user_name,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser;

-- name: tables
-- Arguments: $1 text[] schemas, $2 text[] names, pairwise.
-- Promise: one row for each of them that exists, with its replica identity ('d', 'i', 'f' or 'n').
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       c.relreplident::text AS replica_identity,
       c.relpersistence::text AS persistence
  FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f');

-- name: columns
-- Arguments: $1 text[] schemas, $2 text[] names, pairwise.
-- Promise: one row for each column, in the table's order. `form` is the type as the catalog writes it: the base type of
-- a domain, 'enum' for an enumeration, 'x[]' for an array. `base_type` is that type as Postgres writes it, with its
-- modifiers; `over_array` tells a domain over an array. `attnum` is what a publication's column list refers to.
WITH RECURSIVE based(oid, base, modifier, is_domain) AS (
    SELECT oid, oid, -1, false FROM pg_type WHERE typtype <> 'd'
    UNION ALL
    SELECT d.oid, b.base, CASE WHEN b.is_domain THEN b.modifier ELSE d.typtypmod END, true
      FROM pg_type d JOIN based b ON d.typbasetype = b.oid
     WHERE d.typtype = 'd'
), named AS (
    SELECT b.oid, b.base, b.modifier, b.is_domain, b.is_domain AND e.oid IS NOT NULL AS over_array,
           CASE WHEN e.oid IS NOT NULL THEN
                    CASE WHEN e.typtype = 'e' THEN 'enum' ELSE e.typname::text END || '[]'
                WHEN t.typtype = 'e' THEN 'enum'
                ELSE t.typname::text END AS form
      FROM based b
      JOIN pg_type t ON t.oid = b.base
      LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
)
SELECT n.nspname::text AS schema, c.relname::text AS table_name, a.attname::text AS name, a.attnum::int AS attnum,
       named.form, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid::bigint AS type_oid,
       a.attnotnull AS not_null, a.attgenerated::text AS generated,
       format_type(named.base, CASE WHEN named.is_domain THEN named.modifier ELSE a.atttypmod END) AS base_type,
       named.over_array
  FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN named ON named.oid = a.atttypid
 ORDER BY c.oid, a.attnum;

-- name: enum_domains
-- Arguments: none.
-- Promise: one row for each domain over an enumeration, whichever table uses it.
SELECT n.nspname || '.' || t.typname AS name
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE t.typtype = 'd' AND t.typcategory = 'E'
 ORDER BY 1;

-- name: types
-- Arguments: $1 text[] type names as a catalog writes them.
-- Promise: one row for each name that this database knows as a type, aliases resolved (bigint is int8).
SELECT wanted.name, to_regtype(wanted.name)::oid::bigint AS oid
  FROM unnest($1::text[]) AS wanted(name)
 WHERE to_regtype(wanted.name) IS NOT NULL;

-- name: indexes
-- Arguments: $1 text[] schemas, $2 text[] names, pairwise.
-- Promise: one row for each unique index; `usable` where it can be a replica identity, its columns' NOT NULL aside.
SELECT n.nspname::text AS schema, c.relname::text AS table_name, i.relname::text AS name,
       x.indisprimary AS is_primary, x.indisreplident AS is_identity, x.indisvalid AND x.indisready AS valid,
       x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL AS usable,
       ARRAY(SELECT a.attname::text
               FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
              WHERE k.position <= x.indnkeyatts
              ORDER BY k.position) AS columns
  FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
  JOIN pg_index x ON x.indrelid = c.oid AND x.indisunique
  JOIN pg_class i ON i.oid = x.indexrelid
 ORDER BY i.relname;

-- name: publication
-- Arguments: $1 text name of the publication.
-- Promise: at most one row.
SELECT p.puballtables AS all_tables, p.pubviaroot AS via_root,
       p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS all_operations
  FROM pg_publication p
 WHERE p.pubname = $1;

-- name: publication_tables
-- Arguments: $1 text name of the publication.
-- Promise: one row for each published table; `columns` is null where whole rows are published (always before Postgres 15,
-- whose catalog has no such column, hence the way round by JSON).
SELECT n.nspname::text AS schema, c.relname::text AS name,
       CASE WHEN to_jsonb(r) ->> 'prattrs' IS NULL THEN NULL
            ELSE ARRAY(SELECT a.attname::text FROM pg_attribute a
                        WHERE a.attrelid = c.oid
                          AND to_jsonb(r) -> 'prattrs' @> to_jsonb(a.attnum)
                        ORDER BY a.attname) END AS columns,
       to_jsonb(r) ->> 'prqual' IS NOT NULL AS filtered
  FROM pg_publication p
  JOIN pg_publication_rel r ON r.prpubid = p.oid
  JOIN pg_class c ON c.oid = r.prrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE p.pubname = $1;

-- name: roles
-- Arguments: $1 text[] names of roles.
-- Promise: one row for each that exists; `marked` is its comment, by which Freshline knows the roles that it made;
-- `elsewhere` names other databases of the cluster that still grant it something.
SELECT r.rolname::text AS name, r.rolcanlogin AS can_login, r.rolreplication AS replication, r.rolsuper AS superuser,
       shobj_description(r.oid, 'pg_authid') AS marked,
       has_database_privilege(r.oid, current_database(), 'CONNECT') AS connects,
       ARRAY(SELECT DISTINCT d.datname::text
               FROM pg_shdepend s
               JOIN pg_database d
                 ON d.oid = CASE WHEN s.classid = 'pg_database'::regclass THEN s.objid ELSE s.dbid END
              WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND d.datname <> current_database()
              ORDER BY 1) AS elsewhere
  FROM pg_roles r
 WHERE r.rolname = ANY ($1::text[]);

-- name: role_settings
-- Arguments: $1 text[] names of roles.
-- Promise: one row for each setting that the role's sessions in this database begin with, its name in lower case.
SELECT r.rolname::text AS role, lower(split_part(setting, '=', 1)) AS name,
       substr(setting, strpos(setting, '=') + 1) AS value
  FROM pg_db_role_setting s
  JOIN pg_roles r ON r.oid = s.setrole
  JOIN pg_database d ON d.oid = s.setdatabase AND d.datname = current_database()
 CROSS JOIN LATERAL unnest(s.setconfig) AS setting
 WHERE r.rolname = ANY ($1::text[]);

-- name: role_passwords
-- Arguments: $1 text[] names of roles.
-- Promise: the stored verifier of each; only a superuser may ask.
SELECT rolname::text AS name, rolpassword AS verifier FROM pg_authid WHERE rolname = ANY ($1::text[]);

-- name: usages
-- Arguments: $1 text[] names of roles, $2 text[] names of schemas.
-- Promise: one row for each existing pair of which the role may use the schema.
SELECT r.rolname::text AS role, n.nspname::text AS schema
  FROM pg_roles r, pg_namespace n
 WHERE r.rolname = ANY ($1::text[]) AND n.nspname = ANY ($2::text[])
   AND has_schema_privilege(r.oid, n.oid, 'USAGE');

-- name: grants
-- Arguments: $1 text[] names of roles.
-- Promise: one row for each privilege on a table of this database that is granted to the role itself (not by way of
-- PUBLIC or of another role); `column_name` is null where it holds for the whole table.
SELECT r.rolname::text AS role, n.nspname::text AS schema, c.relname::text AS table_name, g.column_name,
       g.privilege_type AS privilege
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (
       SELECT NULL::text AS column_name, grantee, privilege_type FROM aclexplode(c.relacl)
       UNION ALL
       SELECT a.attname::text, e.grantee, e.privilege_type
         FROM pg_attribute a, aclexplode(a.attacl) e
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS g
  JOIN pg_roles r ON r.oid = g.grantee AND g.grantee <> c.relowner
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND r.rolname = ANY ($1::text[]);

-- name: schema_contents
-- Arguments: $1 text name of a schema, $2 text[] the relations that are ours.
-- Promise: at most one row: the schema exists, which of ours are in it, and how many other objects are.
SELECT ARRAY(SELECT c.relname::text FROM pg_class c
              WHERE c.relnamespace = n.oid AND c.relname = ANY ($2::text[]) ORDER BY 1) AS relations,
       (SELECT count(*)::int FROM pg_depend d
         WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
           AND NOT (d.classid = 'pg_class'::regclass
                    AND d.objid IN (SELECT c.oid FROM pg_class c
                                     WHERE c.relnamespace = n.oid AND c.relname = ANY ($2::text[])))) AS others
  FROM pg_namespace n
 WHERE n.nspname = $1;

-- name: slot
-- Arguments: $1 text name of the slot.
-- Promise: at most one row. `retained_bytes` is the log that the server keeps for it.
SELECT slot_name::text AS name, plugin::text AS plugin, database::text AS database, active, active_pid,
       (restart_lsn - '0/0'::pg_lsn)::bigint AS restart_lsn,
       (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint AS confirmed_flush_lsn,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
          - restart_lsn)::bigint AS retained_bytes,
       wal_status, safe_wal_size
  FROM pg_replication_slots
 WHERE slot_name = $1;

-- name: changed_identities
-- Arguments: none.
-- Promise: the replica identities that Freshline changed, as they were before; only where its schema exists.
SELECT table_schema AS schema, table_name AS name, identity_before::text AS identity_before, index_before
  FROM freshline.changed_identity
 ORDER BY 1, 2;
