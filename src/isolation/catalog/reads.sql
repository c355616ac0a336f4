SELECT DISTINCT r.ev_class::bigint AS view, d.refobjid::bigint AS relation
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
WHERE c.relkind IN ('v', 'm') AND d.refobjid <> r.ev_class AND d.refobjid >= 16384
