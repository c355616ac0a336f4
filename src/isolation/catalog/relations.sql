WITH RECURSIVE below(oid, base) AS (
    SELECT oid, typbasetype FROM pg_type WHERE typtype = 'd'
    UNION ALL SELECT below.oid, d.typbasetype FROM below JOIN pg_type d ON d.oid = below.base AND d.typtype = 'd'
), domains AS MATERIALIZED (
    SELECT below.oid, below.base FROM below JOIN pg_type t ON t.oid = below.base AND t.typtype <> 'd'
)
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, format('%I.%I', n.nspname, c.relname) AS ident,
    c.relkind AS kind, c.relrowsecurity AS rls, c.relforcerowsecurity AS forced, c.relispartition AS partition,
    ARRAY(SELECT i.inhparent::bigint FROM pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) AS parents,
    coalesce((SELECT o.option_value::bool FROM pg_options_to_table(c.reloptions) o
        WHERE o.option_name = 'security_invoker'), false) AS invoker,
    EXISTS (SELECT FROM pg_depend e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e') AS member,
    coalesce((SELECT json_agg(json_build_object(
            'name', a.attname, 'ident', quote_ident(a.attname), 'type', format_type(t.oid, NULL),
            'declared', format_type(a.atttypid, NULL),
            'deterministic', coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true),
            'enum', t.typtype = 'e', 'array', t.typcategory = 'A', 'not_null', a.attnotnull OR own.typnotnull,
            'tenant_not_null', a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid),
            'generated', a.attgenerated <> '', 'identity', a.attidentity <> '',
            'choice', (SELECT substring(pg_get_constraintdef(k.oid) FROM 'ANY \(+ARRAY\[''([^'']*)''') FROM pg_constraint k
                WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum] LIMIT 1)) ORDER BY a.attnum)
        FROM pg_attribute a JOIN pg_type own ON own.oid = a.atttypid
        LEFT JOIN domains ON domains.oid = a.atttypid JOIN pg_type t ON t.oid = coalesce(domains.base, a.atttypid)
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS columns,
    coalesce((SELECT json_agg(json_build_object(
            'name', p.polname, 'permissive', p.polpermissive, 'command', p.polcmd, 'everybody', p.polroles = '{0}',
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
            'comment', obj_description(p.oid, 'pg_policy')) ORDER BY p.polname)
        FROM pg_policy p WHERE p.polrelid = c.oid), '[]') AS policies
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
    AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
    AND c.relname NOT IN ('_sqlx_migrations', 'tenancy_migrations')
