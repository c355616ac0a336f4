WITH first AS MATERIALIZED (
    -- The columns that an index needs: a B-tree its first, any other kind each of its columns.
    SELECT i.indexrelid, am.amname = 'btree' AS btree, p.opcfamily, p.opcintype
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am am ON am.oid = x.relam,
        unnest(i.indclass) WITH ORDINALITY u(class, at) JOIN pg_opclass p ON p.oid = u.class
    WHERE i.indrelid >= 16384 AND (u.at = 1 OR am.amname <> 'btree')
), expression AS MATERIALIZED (
    SELECT i.indexrelid, i.indexprs::text AS tree
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am am ON am.oid = x.relam
    WHERE i.indrelid >= 16384 AND i.indexprs IS NOT NULL AND (i.indkey[0] = 0 OR am.amname <> 'btree')
), unleakproof(indexrelid, what) AS MATERIALIZED (
    -- Until a policy accepts a row, PostgreSQL passes it to leakproof operators and functions only. An operator class is
    -- useless if none of its operators is leakproof.
    SELECT indexrelid, unnest(operators) FROM (
        SELECT f.indexrelid, array_agg(DISTINCT 'operator ' || o.oprname) AS operators
        FROM first f JOIN pg_amop a ON a.amopfamily = f.opcfamily AND a.amoppurpose = 's' AND a.amoplefttype = f.opcintype
        JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_proc c ON c.oid = o.oprcode
        GROUP BY f.indexrelid, f.opcfamily HAVING NOT bool_or(c.proleakproof)) classes
    -- A pattern class serves LIKE, whose operator is in no B-tree class.
    UNION SELECT f.indexrelid, 'operator ~~ (LIKE)' FROM first f JOIN pg_amop a ON a.amopfamily = f.opcfamily
        JOIN pg_operator o ON o.oid = a.amopopr AND o.oprname = '~<~' WHERE f.btree
    -- The functions of an expression are in its tree by their oids; a cast through text has none.
    UNION SELECT e.indexrelid, 'function ' || p.proname
        FROM expression e, regexp_matches(e.tree, ':(?:op)?funcid ([0-9]+)', 'g') u(m)
        JOIN pg_proc p ON p.oid = u.m[1]::oid AND NOT p.proleakproof
    UNION SELECT indexrelid, 'a cast through text' FROM expression WHERE tree LIKE '%{COERCEVIAIO %'
)
SELECT i.indrelid::bigint AS "table", x.relname AS name, format('%I.%I', n.nspname, x.relname) AS ident,
    i.indisunique AS "unique", i.indisprimary AS "primary", i.indisexclusion AS exclusion,
    k.conname IS NOT NULL AS "constraint", i.indisvalid AS valid, i.indimmediate AS immediate, am.amname AS method, x.relispartition AS inherited,
    ARRAY(SELECT f.oid::bigint FROM pg_constraint f
        WHERE f.contype = 'f' AND f.conparentid = 0 AND f.conindid = i.indexrelid) AS referenced_by,
    pg_get_expr(i.indpred, i.indrelid) AS predicate,
    ARRAY(SELECT a.attname FROM generate_series(0, i.indnkeyatts - 1) at
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = nullif(i.indkey[at], 0)
            -- With `EXCLUDE (.. WITH <>)` rows of different tenants conflict: the column does not count.
            AND (k.conexclop IS NULL OR EXISTS (SELECT FROM pg_operator o WHERE o.oid = k.conexclop[at + 1] AND o.oprname = '='))
        ORDER BY at) AS columns,
    ARRAY(SELECT pg_get_indexdef(i.indexrelid, at, true) FROM generate_series(1, i.indnkeyatts::int) at ORDER BY at) AS terms,
    pg_get_indexdef(i.indexrelid) AS definition,
    coalesce(pg_get_constraintdef(k.oid), substr(pg_get_indexdef(i.indexrelid), 1 + length(format('CREATE %sINDEX %I ON %s%I.%I',
        CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, x.relname, CASE t.relkind WHEN 'p' THEN 'ONLY ' ELSE '' END,
        n.nspname, t.relname)))) AS body,
    ARRAY(SELECT u.what FROM unleakproof u WHERE u.indexrelid = i.indexrelid ORDER BY 1) AS unleakproof
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
JOIN pg_class t ON t.oid = i.indrelid JOIN pg_am am ON am.oid = x.relam
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, t.relname, x.relname
