WITH place(name, functions) AS ({NAMES}), login AS (
    SELECT rolsuper OR rolbypassrls AS exempt FROM pg_roles WHERE rolname = session_user
)
SELECT place.name, place.functions, NOT login.exempt AND EXISTS (SELECT FROM pg_roles r
    WHERE r.rolname = place.name AND r.rolname <> session_user AND CASE
        WHEN current_setting('server_version_num')::int >= 160000 THEN pg_has_role(session_user, r.oid, 'SET')
        ELSE pg_has_role(session_user, r.oid, 'MEMBER') END) AS role
FROM place, login ORDER BY place.name
