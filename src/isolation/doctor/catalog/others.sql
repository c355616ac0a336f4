WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
)
SELECT 'routine' AS kind, json_build_object(
    'schema', n.nspname, 'name', p.proname,
    'signature', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
    'procedure', p.prokind = 'p', 'owner', pg_get_userbyid(p.proowner),
    -- Or bound by other policies than the role.
    'exempt', (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles r WHERE r.oid = p.proowner)
        OR EXISTS (SELECT FROM pg_policy l WHERE 0 <> ALL (l.polroles)
            AND EXISTS (SELECT FROM unnest(l.polroles) r WHERE pg_has_role(p.proowner, r, 'USAGE'))
                <> EXISTS (SELECT FROM unnest(l.polroles) r WHERE pg_has_role(r, 'USAGE'))),
    'own', p.proowner IN (SELECT oid FROM mine),
    'definer', p.prosecdef AND (p.prorettype = 'trigger'::regtype OR has_function_privilege(p.oid, 'EXECUTE')),
    'leakproof', p.proleakproof,
    'frozen', ARRAY(SELECT DISTINCT l.polrelid::bigint FROM pg_depend d JOIN pg_policy l ON l.oid = d.objid
        WHERE p.provolatile = 'i' AND p.prokind = 'f' AND d.classid = 'pg_policy'::regclass
            AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
            AND pg_get_functiondef(p.oid) ~* 'current_setting|current_user|current_role|session_user')) AS is
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' AND p.prokind <> 'a'
    AND (p.prosecdef OR p.proleakproof OR p.provolatile = 'i')
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
UNION ALL
SELECT 'default_grant', json_build_object('owner', quote_ident(pg_get_userbyid(d.defaclrole)),
    'schema', (SELECT quote_ident(n.nspname) FROM pg_namespace n WHERE n.oid = d.defaclnamespace),
    'to', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
FROM pg_default_acl d, LATERAL (SELECT DISTINCT grantee FROM aclexplode(d.defaclacl)) a
WHERE d.defaclobjtype = 'r' AND a.grantee <> d.defaclrole AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM mine))
UNION ALL
SELECT 'publication', json_build_object('name', p.pubname, 'ident', quote_ident(p.pubname), 'all', p.puballtables,
    'tables', ARRAY(SELECT r.prrelid::bigint FROM pg_publication_rel r WHERE r.prpubid = p.oid),
    'schemas', ARRAY(SELECT n.nspname FROM pg_publication_namespace s JOIN pg_namespace n ON n.oid = s.pnnspid
        WHERE s.pnpubid = p.oid))
FROM pg_publication p
UNION ALL
SELECT 'sequence', json_build_object('name', format('%I.%I', n.nspname, s.relname),
    'tables', array_agg(DISTINCT d.adrelid::bigint))
FROM pg_attrdef d JOIN pg_depend e ON e.classid = 'pg_attrdef'::regclass AND e.objid = d.oid
    AND e.refclassid = 'pg_class'::regclass
JOIN pg_class s ON s.oid = e.refobjid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = d.adrelid)
GROUP BY n.nspname, s.relname HAVING count(DISTINCT d.adrelid) > 1
