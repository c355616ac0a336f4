SELECT k.oid::bigint AS oid, k.conname AS name, k.conrelid::bigint AS child, k.confrelid::bigint AS parent,
    (SELECT json_agg(json_build_array(a.attname, b.attname) ORDER BY u.at)
        FROM unnest(k.conkey, k.confkey) WITH ORDINALITY u(own, theirs, at)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.own
        JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.theirs) AS columns,
    -- The operator that compares a value of the parent with one of the child.
    ARRAY(SELECT format('OPERATOR(%I.%s)', s.nspname, o.oprname) FROM unnest(k.conpfeqop) WITH ORDINALITY u(operator, at)
        JOIN pg_operator o ON o.oid = u.operator JOIN pg_namespace s ON s.oid = o.oprnamespace ORDER BY u.at) AS operators,
    EXISTS (SELECT FROM pg_attribute a
        WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) AND NOT a.attnotnull) AS nullable,
    k.confupdtype AS on_update, k.confdeltype AS on_delete,
    ARRAY(SELECT a.attname FROM unnest(k.confdelsetcols) WITH ORDINALITY u(num, at)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.at) AS on_delete_columns,
    k.confmatchtype = 'f' AND cardinality(k.conkey) > 1 AS "full",
    -- Since PostgreSQL 18.
    coalesce((to_jsonb(k)->>'conperiod')::bool, false) AS period,
    k.convalidated AS valid,
    CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END
        || CASE WHEN to_jsonb(k)->>'conenforced' = 'false' THEN ' NOT ENFORCED' WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
        AS options
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
-- A key that a partition inherits is reported for its parent only.
WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname NOT LIKE 'pg\_%'
ORDER BY n.nspname, c.relname, k.conname
