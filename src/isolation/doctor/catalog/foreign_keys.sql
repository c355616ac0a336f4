SELECT k.conrelid::bigint AS "table", k.confrelid::bigint AS parent, k.conname AS name, quote_ident(k.conname) AS ident,
    k.confdeltype AS on_delete, k.confupdtype AS on_update, k.condeferrable OR k.confmatchtype <> 's' AS special,
    ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY u(num, at)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.at) AS columns,
    ARRAY(SELECT a.attname FROM unnest(k.confkey) WITH ORDINALITY u(num, at)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.at) AS parents
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname NOT LIKE 'pg\_%'
ORDER BY n.nspname, k.conname
