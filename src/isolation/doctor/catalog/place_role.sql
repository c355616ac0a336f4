WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname = session_user
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
), other AS MATERIALIZED (
    -- The roles of other places, and the role that logs in; `PlaceRole` reports once what that one inherits.
    SELECT r.oid, r.rolname FROM mine JOIN pg_roles r USING (oid)
    WHERE r.rolname <> {PLACE} AND NOT r.rolsuper AND CASE r.rolname
        WHEN session_user THEN NOT pg_has_role(r.oid, {PLACE}, 'USAGE')
        ELSE r.rolname ~ '^t_[0-9a-f]{32}$' END
        AND {REACHED}
)
SELECT count(*) AS roles, min(rolname) AS first,
    ARRAY(SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_namespace n, aclexplode(n.nspacl) a
        WHERE n.nspname = {PLACE} AND a.privilege_type = 'USAGE' AND a.grantee <> n.nspowner
            AND pg_get_userbyid(a.grantee) <> {PLACE}
            AND (a.grantee = 0 OR EXISTS (SELECT FROM other o WHERE pg_has_role(o.oid, a.grantee, 'USAGE')))
        ORDER BY 1) AS "to"
FROM other
