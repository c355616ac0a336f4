SELECT t.tgrelid::bigint AS oid, 'trigger' AS kind, t.tgname AS name FROM pg_trigger t WHERE NOT t.tgisinternal
UNION ALL
SELECT p.polrelid::bigint, 'policy', p.polname FROM pg_policy p
WHERE p.polqual::text LIKE '%{SUBLINK %' OR p.polwithcheck::text LIKE '%{SUBLINK %'
