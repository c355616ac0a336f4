WITH sound AS MATERIALIZED (
    -- The operator classes with which PostgreSQL can use an index before it evaluates the policy.
    SELECT DISTINCT c.oid FROM pg_opclass c JOIN pg_am am ON am.oid = c.opcmethod
    JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype
    JOIN pg_operator p ON p.oid = o.amopopr JOIN pg_proc f ON f.oid = p.oprcode
    WHERE f.proleakproof
        AND CASE am.amname WHEN 'btree' THEN o.amopstrategy = 3 WHEN 'hash' THEN o.amopstrategy = 1 ELSE true END
)
SELECT i.indrelid::bigint AS "table", x.relname AS name, format('%I.%I', n.nspname, x.relname) AS ident,
    quote_ident(x.relname) AS short,
    i.indisunique AS "unique", i.indisprimary AS "primary", i.indisexclusion AS exclusion,
    k.conname IS NOT NULL AS "constraint", am.amname AS method,
    EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid) AS inherited,
    EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.conindid = i.indexrelid) AS referenced,
    -- Properties that a new key `(tenant, ..)` over the same columns would not repeat.
    i.indnkeyatts <> i.indnatts OR coalesce(k.condeferrable, false) OR i.indnullsnotdistinct
        OR i.indoption::text ~ '[1-9]' AS special,
    pg_get_expr(i.indpred, i.indrelid) AS predicate,
    ARRAY(SELECT a.attname FROM generate_series(0, i.indnkeyatts - 1) at
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = nullif(i.indkey[at], 0)
            -- With `EXCLUDE (.. WITH <>)` rows of different tenants conflict: the column does not count.
            AND (k.conexclop IS NULL OR EXISTS (SELECT FROM pg_operator o WHERE o.oid = k.conexclop[at + 1] AND o.oprname = '='))
        ORDER BY at) AS columns,
    ARRAY(SELECT pg_get_indexdef(i.indexrelid, at, true) FROM generate_series(1, i.indnkeyatts::int) at ORDER BY at) AS terms,
    pg_get_indexdef(i.indexrelid) AS definition,
    EXISTS (SELECT FROM generate_series(0, i.indnkeyatts - 1) at
        WHERE i.indkey[at] = 0 OR i.indclass[at] NOT IN (SELECT oid FROM sound)) AS leaky
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
JOIN pg_am am ON am.oid = x.relam
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, x.relname
