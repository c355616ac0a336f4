WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
), below(oid, base) AS (
    SELECT oid, typbasetype FROM pg_type WHERE typtype = 'd'
    UNION ALL SELECT below.oid, d.typbasetype FROM below JOIN pg_type d ON d.oid = below.base AND d.typtype = 'd'
), domains AS MATERIALIZED (
    SELECT below.oid, below.base FROM below JOIN pg_type t ON t.oid = below.base AND t.typtype <> 'd'
), restricted AS MATERIALIZED (
    SELECT x.relname, '%:relid ' || x.oid || ' %' AS pattern FROM pg_class x
    WHERE x.oid < 16384 AND x.relkind = 'r' AND NOT has_table_privilege(x.oid, 'SELECT')
)
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, format('%I.%I', n.nspname, c.relname) AS ident,
    c.relkind AS kind, pg_get_userbyid(c.relowner) AS owner,
    c.relowner IN (SELECT oid FROM mine) AS owned,
    EXISTS (SELECT FROM mine WHERE has_schema_privilege(mine.oid, n.oid, 'USAGE')) AS usage,
    EXISTS (SELECT FROM pg_depend d
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype = 'n'
            AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)) AS used,
    ARRAY(SELECT r.rulename FROM pg_rewrite r
        WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND pg_get_ruledef(r.oid) NOT LIKE '%DO INSTEAD NOTHING;' ORDER BY 1) AS rules,
    CASE WHEN has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        THEN NOT row_security_active(c.oid) ELSE false END AS sees_all,
    c.relrowsecurity AS rls, c.relforcerowsecurity AS forced, c.relispartition AS partition,
    ARRAY(SELECT i.inhparent::bigint FROM pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) AS parents,
    CASE c.relkind
        WHEN 'p' THEN (SELECT sum(greatest(l.reltuples, 0)) FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid)
        ELSE greatest(c.reltuples, 0)
    END::float8 AS rows,
    coalesce((SELECT o.option_value::bool FROM pg_options_to_table(c.reloptions) o
        WHERE o.option_name = 'security_invoker'), false) AS invoker,
    EXISTS (SELECT FROM pg_depend e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e') AS member,
    -- PostgreSQL records no dependency on the server's own tables.
    ARRAY(SELECT DISTINCT x.relname FROM pg_rewrite r, restricted x
        WHERE r.ev_class = c.oid AND c.relkind IN ('v', 'm') AND r.ev_action::text LIKE x.pattern ORDER BY 1) AS restricted,
    coalesce((SELECT json_agg(DISTINCT jsonb_build_array(s.nspname, p.proname)) FROM pg_rewrite r
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_proc'::regclass
        JOIN pg_proc p ON p.oid = d.refobjid AND p.oid >= 16384 JOIN pg_namespace s ON s.oid = p.pronamespace
        WHERE r.ev_class = c.oid AND c.relkind IN ('v', 'm') AND NOT EXISTS (SELECT FROM pg_depend e
            WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')), '[]') AS calls,
    ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p
        WHERE EXISTS (SELECT FROM mine WHERE has_any_column_privilege(mine.oid, c.oid, p))
        UNION ALL
        SELECT p FROM unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) p
        WHERE EXISTS (SELECT FROM mine WHERE has_table_privilege(mine.oid, c.oid, p))) AS privileges,
    CASE WHEN has_schema_privilege(n.oid, 'USAGE') THEN
        ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
            WHERE CASE p WHEN 'DELETE' THEN has_table_privilege(c.oid, p) ELSE has_any_column_privilege(c.oid, p) END)
        ELSE '{}' END AS usable,
    coalesce((SELECT json_agg(DISTINCT jsonb_build_array(a.privilege_type,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END))
        FROM (SELECT (aclexplode(c.relacl)).*
            UNION ALL SELECT (aclexplode(t.attacl)).* FROM pg_attribute t WHERE t.attrelid = c.oid) a
        WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM mine)), '[]') AS grants,
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
            'name', p.polname, 'permissive', p.polpermissive, 'command', p.polcmd,
            'everybody', p.polroles = '{0}',
            'marked', coalesce(obj_description(p.oid, 'pg_policy') ~ '^tenancy [0-9a-f]{16}$', false), 'reaches', 0 = ANY (p.polroles) OR EXISTS (SELECT FROM mine WHERE mine.oid = ANY (p.polroles)),
            'binds', 0 = ANY (p.polroles)
                OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE pg_has_role(r, 'USAGE')),
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.polname)
        FROM pg_policy p WHERE p.polrelid = c.oid), '[]') AS policies
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
    AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
    AND c.relname NOT IN ('_sqlx_migrations', 'tenancy_migrations')
ORDER BY n.nspname, c.relname
