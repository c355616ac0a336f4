WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
), routine AS (
    SELECT p.*, p.xmin::text AS written, p.oid < 16384 AS system, x.extname AS extension,
        -- Written by another command than its creation, and not by an update of the extension.
        NOT (p.xmin = d.xmin AND p.cmin = d.cmin) AND NOT (p.xmin = x.xmin AND p.xmin <> d.xmin) AS rewritten,
        (SELECT CASE WHEN name = lower(name) THEN name ELSE quote_ident(name) END
            FROM unnest(p.proconfig) one, split_part(one, '=', 1) name WHERE lower(name) = 'app.tenant_id' LIMIT 1) AS sets,
        -- The constructors of a range belong to its type.
        CASE WHEN NOT l.lanpltrusted AND p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend i
            WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid AND i.deptype IN ('e', 'i')) THEN l.lanname END AS language
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    LEFT JOIN pg_extension x ON x.oid = d.refobjid
    WHERE p.prokind <> 'a' AND (p.prosecdef OR p.proleakproof OR p.proconfig IS NOT NULL OR (p.oid >= 16384 AND (p.provolatile = 'i' OR NOT l.lanpltrusted)))
), seen AS (
    SELECT r.*, CASE
            -- `granted.sql` finds a function that its extension restricts and that was granted later.
            WHEN r.extension IS NOT NULL THEN EXISTS (SELECT FROM aclexplode(coalesce(r.proacl, acldefault('f', r.proowner))) a
                WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
            ELSE r.prorettype = 'trigger'::regtype
                OR EXISTS (SELECT FROM mine WHERE has_function_privilege(mine.oid, r.oid, 'EXECUTE'))
                -- The owner of an aggregate needs EXECUTE on its functions; its caller does not.
                OR EXISTS (SELECT FROM pg_aggregate a, mine
                    WHERE r.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn,
                            a.aggminvtransfn, a.aggmfinalfn) AND has_function_privilege(mine.oid, a.aggfnoid, 'EXECUTE'))
        END AS runs,
        CASE
            -- `initdb` writes the functions that the server itself marks.
            WHEN r.system THEN r.written <> '1'
            -- The creation or an update of an extension writes the functions that it marks.
            WHEN r.extension IS NOT NULL THEN r.rewritten
            ELSE true
        END AND r.proleakproof AS leakproof,
        CASE WHEN r.provolatile = 'i' AND r.prokind = 'f' THEN
            ARRAY(SELECT DISTINCT l.polrelid::bigint FROM pg_depend d JOIN pg_policy l ON l.oid = d.objid
                WHERE d.classid = 'pg_policy'::regclass AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = r.oid
                    AND pg_get_functiondef(r.oid) ~* 'current_setting|current_user|current_role|session_user')
            ELSE '{}' END AS frozen
    FROM routine r
)
SELECT n.nspname AS schema, p.proname AS name,
    format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS signature,
    p.prokind = 'p' AS procedure, pg_get_userbyid(p.proowner) AS owner, p.proowner IN (SELECT oid FROM mine) AS own,
    p.extension, p.prosecdef AND p.runs AS definer, p.leakproof, CASE WHEN p.runs THEN p.sets END AS sets_tenant, p.frozen,
    CASE WHEN p.runs THEN p.language END AS language,
    ARRAY(SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM mine) ORDER BY 1) AS "to"
FROM seen p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef OR p.leakproof OR p.sets IS NOT NULL OR p.frozen <> '{}' OR p.language IS NOT NULL
ORDER BY n.nspname, p.proname, 3
