WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
), restricted AS MATERIALIZED (
    SELECT x.relname, '%:relid ' || x.oid || ' %' AS pattern FROM pg_class x
    WHERE x.oid < 16384 AND x.relkind = 'r' AND NOT has_table_privilege(x.oid, 'SELECT')
)
SELECT c.oid::bigint AS oid, pg_get_userbyid(c.relowner) AS owner, c.relowner IN (SELECT oid FROM mine) AS owned,
    EXISTS (SELECT FROM mine WHERE has_schema_privilege(mine.oid, n.oid, 'USAGE')) AS usage,
    EXISTS (SELECT FROM pg_depend d
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype = 'n'
            AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)) AS used,
    ARRAY(SELECT r.rulename FROM pg_rewrite r
        WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND pg_get_ruledef(r.oid) NOT LIKE '%DO INSTEAD NOTHING;' ORDER BY 1) AS rules,
    CASE WHEN has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        THEN NOT row_security_active(c.oid) ELSE false END AS sees_all,
    CASE c.relkind
        WHEN 'p' THEN (SELECT sum(greatest(l.reltuples, 0)) FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid)
        ELSE greatest(c.reltuples, 0)
    END::float8 AS rows,
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
    ARRAY(SELECT p.polname FROM pg_policy p
        WHERE p.polrelid = c.oid AND (0 = ANY (p.polroles) OR EXISTS (SELECT FROM mine WHERE mine.oid = ANY (p.polroles)))) AS reached_by,
    ARRAY(SELECT p.polname FROM pg_policy p
        WHERE p.polrelid = c.oid
            AND (0 = ANY (p.polroles) OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE pg_has_role(r, 'USAGE')))) AS bound_by
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\_%'
