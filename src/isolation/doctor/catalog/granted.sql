WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
), extension(class, oid) AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), object(class, oid, part, kind, name, owner, acl, fresh) AS (
    -- Objects of a fresh server, and objects of extensions.
    SELECT 'pg_proc'::regclass::oid, p.oid, 0, CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
        format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), p.proowner, p.proacl,
        acldefault('f', p.proowner)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE (p.oid < 16384 OR ('pg_proc'::regclass, p.oid) IN (SELECT class, oid FROM extension))
        AND (p.proacl IS NOT NULL OR p.oid IN (SELECT objoid FROM pg_init_privs WHERE classoid = 'pg_proc'::regclass))
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid, 0, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
        format('%I.%I', n.nspname, c.relname), c.relowner, c.relacl,
        CASE n.nspname WHEN 'information_schema' THEN ARRAY[makeaclitem(0, c.relowner, 'SELECT', false)]
            ELSE acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner) END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    -- A TOAST table stores the long values of a tenant table, and has no policy.
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 't')
        AND (c.oid < 16384 OR n.nspname IN ('pg_catalog', 'pg_toast') OR ('pg_class'::regclass, c.oid) IN (SELECT class, oid FROM extension))
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid, a.attnum, format('(%I) ON TABLE', a.attname), format('%I.%I', n.nspname, c.relname),
        c.relowner, a.attacl, acldefault('c', c.relowner)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attacl IS NOT NULL
        AND (c.oid < 16384 OR ('pg_class'::regclass, c.oid) IN (SELECT class, oid FROM extension))
    UNION ALL
    SELECT 'pg_language'::regclass, oid, 0, 'LANGUAGE', quote_ident(lanname), lanowner,
        coalesce(lanacl, acldefault('l', lanowner)),
        -- `c` and `internal` run in the server process: they are for superusers only, even if marked trusted.
        CASE WHEN lanname IN ('internal', 'c') AND lanpltrusted THEN acldefault('t', lanowner) ELSE acldefault('l', lanowner) END
    FROM pg_language
    -- Objects that a fresh server does not have.
    UNION ALL
    SELECT 'pg_namespace'::regclass, oid, 0, 'SCHEMA', quote_ident(nspname), nspowner, nspacl,
        -- A role that reads a table needs USAGE on its schema.
        acldefault('n', nspowner) || makeaclitem(0, nspowner, 'USAGE', false) FROM pg_namespace
    UNION ALL
    SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0, 'FOREIGN DATA WRAPPER', quote_ident(fdwname), fdwowner, fdwacl,
        acldefault('F', fdwowner) FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'pg_foreign_server'::regclass, oid, 0, 'FOREIGN SERVER', quote_ident(srvname), srvowner, srvacl,
        acldefault('S', srvowner) FROM pg_foreign_server
    UNION ALL
    SELECT 'pg_tablespace'::regclass, oid, 0, 'TABLESPACE', quote_ident(spcname), spcowner, spcacl, acldefault('t', spcowner)
    FROM pg_tablespace
    UNION ALL
    SELECT 'pg_database'::regclass, oid, 0, 'DATABASE', quote_ident(datname), datdba, datacl, acldefault('d', datdba)
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    -- A setting that any role may change needs no privilege.
    SELECT 'pg_parameter_acl'::regclass, oid, 0, 'PARAMETER', quote_ident(parname), 10, paracl, acldefault('p', 10)
    FROM pg_parameter_acl
    WHERE parname <> 'app.tenant_id' AND parname NOT IN (SELECT lower(name) FROM pg_settings WHERE context = 'user')
), given AS (
    SELECT o.*, a.privilege_type, a.grantee
    FROM object o LEFT JOIN pg_init_privs i ON i.classoid = o.class AND i.objoid = o.oid AND i.objsubid = o.part,
        aclexplode(coalesce(o.acl, o.fresh)) a
    WHERE (o.acl IS NOT NULL OR i.objoid IS NOT NULL) AND a.grantee <> o.owner
        AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM mine))
        AND NOT EXISTS (SELECT FROM aclexplode(coalesce(i.initprivs, o.fresh)) f
            WHERE f.privilege_type = a.privilege_type AND f.grantee IN (0, a.grantee))
)
SELECT kind, name, array_agg(DISTINCT privilege_type ORDER BY privilege_type) AS rights,
    array_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) AS "to",
    kind = 'FOREIGN SERVER' AND EXISTS (SELECT FROM pg_user_mappings m
        WHERE m.srvid = given.oid AND (m.umuser = 0 OR m.umuser IN (SELECT oid FROM mine))) AS mapped
FROM given GROUP BY kind, name, oid
UNION ALL
-- The owner needs no privilege.
SELECT kind, name, ARRAY['OWNER'], ARRAY[quote_ident(pg_get_userbyid(owner))], true
FROM object WHERE kind LIKE 'FOREIGN %' AND owner IN (SELECT oid FROM mine)
ORDER BY 1, 2
