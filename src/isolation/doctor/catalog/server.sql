WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
)
SELECT current_user AS role, current_database() AS database,
    current_setting('server_version_num')::int AS version,
    current_setting('transaction_read_only')::bool AS read_only,
    coalesce(current_setting('app.tenant_id', true), '') AS tenant,
    (SELECT json_agg(json_build_object(
        'name', r.rolname, 'ident', quote_ident(r.rolname), 'own', r.rolname IN (current_user, session_user),
        'superuser', r.rolsuper, 'bypass', r.rolbypassrls, 'replication', r.rolreplication, 'createrole', r.rolcreaterole,
        'files', r.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program'),
        'inherited', pg_has_role(session_user, r.oid, 'USAGE'),
        'predefined', r.oid < 16384 AND r.rolname LIKE 'pg\_%',
        'members', ARRAY(SELECT quote_ident(pg_get_userbyid(m.member)) FROM pg_auth_members m
            WHERE m.roleid = r.oid AND m.member IN (SELECT oid FROM mine) ORDER BY 1)) ORDER BY r.rolname)
        FROM pg_roles r WHERE r.oid IN (SELECT oid FROM mine)) AS roles,
    (SELECT coalesce(json_agg(json_build_object(
        'name', lower(name), 'ident', CASE WHEN name = lower(name) THEN name ELSE quote_ident(name) END,
        'role', quote_ident(pg_get_userbyid(nullif(s.setrole, 0))),
        'database', (SELECT quote_ident(d.datname) FROM pg_database d WHERE d.oid = s.setdatabase))), '[]')
        FROM pg_db_role_setting s, unnest(s.setconfig) one, split_part(one, '=', 1) name
        WHERE lower(name) IN ('app.tenant_id', 'lo_compat_privileges', 'session_replication_role')
            AND one NOT LIKE '%='
            AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND (s.setrole = 0 OR s.setrole IN (SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)))) AS settings,
    ARRAY(SELECT name FROM (VALUES ('lo_compat_privileges', 'on'), ('session_replication_role', 'replica')) bad(name, value)
        WHERE current_setting(name) = value) AS unsafe_settings,
    (SELECT count(*) FROM pg_largeobject_metadata l
        WHERE current_setting('lo_compat_privileges')::bool OR l.lomowner IN (SELECT oid FROM mine)
            OR EXISTS (SELECT FROM aclexplode(l.lomacl) a WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM mine))) AS large_objects
