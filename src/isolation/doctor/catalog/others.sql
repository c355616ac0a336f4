WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
)
SELECT 'default_grant' AS kind, json_build_object('owner', quote_ident(pg_get_userbyid(d.defaclrole)),
    'schema', (SELECT quote_ident(n.nspname) FROM pg_namespace n WHERE n.oid = d.defaclnamespace),
    'to', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS is
FROM pg_default_acl d, LATERAL (SELECT DISTINCT grantee FROM aclexplode(d.defaclacl)) a
WHERE d.defaclobjtype = 'r' AND a.grantee <> d.defaclrole AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM mine))
UNION ALL
SELECT 'publication', json_build_object('name', p.pubname, 'ident', quote_ident(p.pubname), 'all', p.puballtables,
    'tables', ARRAY(SELECT r.prrelid::bigint FROM pg_publication_rel r WHERE r.prpubid = p.oid),
    'schemas', ARRAY(SELECT n.nspname FROM pg_publication_namespace s JOIN pg_namespace n ON n.oid = s.pnnspid
        WHERE s.pnpubid = p.oid))
FROM pg_publication p
UNION ALL
SELECT 'event_trigger', json_build_object('name', e.evtname, 'ident', quote_ident(e.evtname), 'schema', n.nspname,
    'function', p.proname)
FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE e.evtenabled <> 'D'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e')
UNION ALL
SELECT 'sequence', json_build_object('name', format('%I.%I', n.nspname, s.relname),
    'tables', array_agg(DISTINCT d.adrelid::bigint))
FROM pg_attrdef d JOIN pg_depend e ON e.classid = 'pg_attrdef'::regclass AND e.objid = d.oid
    AND e.refclassid = 'pg_class'::regclass
JOIN pg_class s ON s.oid = e.refobjid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = d.adrelid)
GROUP BY n.nspname, s.relname HAVING count(DISTINCT d.adrelid) > 1
UNION ALL
-- PUBLIC may execute these in a new extension: they log in to any database whose password the caller knows.
SELECT 'remote', json_build_object('extension', x.extname,
    'functions', array_agg(DISTINCT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))),
    'to', array_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END))
FROM pg_extension x JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'e'
    AND d.classid = 'pg_proc'::regclass
JOIN pg_proc p ON p.oid = d.objid AND p.proname IN ('dblink', 'dblink_connect', 'dblink_exec')
JOIN pg_namespace n ON n.oid = p.pronamespace,
    aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE x.extname = 'dblink' AND a.grantee <> p.proowner AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM mine))
    AND EXISTS (SELECT FROM mine WHERE has_schema_privilege(mine.oid, n.oid, 'USAGE'))
GROUP BY x.extname
