WITH RECURSIVE mine(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON m.member = mine.oid
), extension(class, oid) AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), own(oid) AS MATERIALIZED (
    -- No expression calls a trigger function; the constructors of a range belong to its type.
    SELECT p.oid FROM pg_proc p
    WHERE p.oid >= 16384 AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
        AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
), plain(oid) AS MATERIALIZED (
    -- The server's own functions behind an operator or a cast.
    SELECT oprcode::oid FROM pg_operator WHERE oid < 16384 UNION SELECT castfunc FROM pg_cast WHERE oid < 16384
), read(type, name) AS (
    SELECT c.reltype, c.relname FROM pg_class c
    WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND EXISTS (SELECT FROM mine WHERE has_any_column_privilege(mine.oid, c.oid, 'SELECT'))
), rowtype(type, name) AS (
    SELECT type, name FROM read
    UNION
    -- A row of a child is a row of its parent, a row of a typed table is a value of its type, and each is a value of
    -- every domain over it.
    SELECT other.oid, rowtype.name FROM rowtype JOIN pg_type t ON t.oid = rowtype.type, LATERAL (
        SELECT parent.reltype FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent WHERE i.inhrelid = t.typrelid
        UNION ALL SELECT c.reloftype FROM pg_class c WHERE c.oid = t.typrelid AND c.reloftype <> 0
        UNION ALL SELECT d.oid FROM pg_type d WHERE d.typbasetype = t.oid
        UNION ALL SELECT k.casttarget FROM pg_cast k WHERE k.castsource = t.oid AND k.castcontext = 'i') other(oid)
), whole(type, name) AS (
    SELECT type, format('a row of `%s`', name) FROM rowtype
    UNION ALL
    SELECT oid, 'a row of any table' FROM pg_type
    WHERE typnamespace = 'pg_catalog'::regnamespace
        AND typname IN ('record', 'any', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray')
    UNION ALL
    SELECT k.casttarget, 'a row of any table' FROM pg_cast k WHERE k.castsource = 'record'::regtype AND k.castcontext = 'i'
), called(function, checked, how) AS (
    SELECT p.oid, true, format('`%I` written like a column of %s', p.proname, min(w.name))
    FROM own JOIN pg_proc p ON p.oid = own.oid
    JOIN whole w ON w.type = CASE WHEN p.provariadic <> 0 AND p.pronargs = 1 THEN p.provariadic ELSE p.proargtypes[0] END
    WHERE p.prokind IN ('f', 'a') AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
    GROUP BY p.oid
    UNION ALL
    SELECT k.castfunc, true, format('the cast from %s to %s', format_type(k.castsource, NULL), format_type(k.casttarget, NULL))
    FROM pg_cast k
    WHERE k.castfunc <> 0 AND k.oid >= 16384 AND ('pg_cast'::regclass, k.oid) NOT IN (SELECT class, oid FROM extension)
        AND k.castfunc NOT IN (SELECT oid FROM plain)
    UNION ALL
    SELECT f.oid, f.code, format('the operator %s', o.oid::regoperator)
    FROM pg_operator o, LATERAL (VALUES (o.oprcode::oid, true), (o.oprrest::oid, false), (o.oprjoin::oid, false)) f(oid, code)
    WHERE o.oid >= 16384 AND ('pg_operator'::regclass, o.oid) NOT IN (SELECT class, oid FROM extension)
        AND f.oid <> 0 AND CASE WHEN f.code THEN f.oid NOT IN (SELECT oid FROM plain) ELSE f.oid >= 16384 END
    UNION ALL
    SELECT d.refobjid, true, format('the domain %s', format_type(k.contypid, NULL))
    FROM pg_constraint k JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
        AND d.refclassid = 'pg_proc'::regclass
    WHERE k.contypid <> 0 AND ('pg_type'::regclass, k.contypid) NOT IN (SELECT class, oid FROM extension)
    UNION ALL
    -- The server calls these without checking EXECUTE.
    SELECT f, false, format('the type %s', format_type(t.oid, NULL))
    FROM pg_type t, unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze]::oid[]) f
    WHERE t.oid >= 16384 AND t.typtype = 'b' AND ('pg_type'::regclass, t.oid) NOT IN (SELECT class, oid FROM extension)
    UNION ALL
    SELECT f, false, format('the type %s', format_type(r.rngtypid, NULL))
    FROM pg_range r, unnest(ARRAY[r.rngcanonical, r.rngsubdiff]::oid[]) f
    WHERE ('pg_type'::regclass, r.rngtypid) NOT IN (SELECT class, oid FROM extension)
    UNION ALL
    SELECT a.amproc, false, format('the operator family %I', f.opfname)
    FROM pg_amproc a JOIN pg_opfamily f ON f.oid = a.amprocfamily
    WHERE ('pg_opfamily'::regclass, f.oid) NOT IN (SELECT class, oid FROM extension)
), every(function, checked, how, named, scalar) AS (
    SELECT *, false, false FROM called
    UNION ALL
    -- Functions with the name of a server function, which PostgreSQL prefers for arguments that match better.
    SELECT p.oid, true, NULL, true, false FROM own JOIN pg_proc p ON p.oid = own.oid
    WHERE EXISTS (SELECT FROM pg_proc b WHERE b.proname = p.proname AND b.pronamespace = 'pg_catalog'::regnamespace)
    UNION ALL
    -- Functions that can be written like a field of a value.
    SELECT p.oid, true, NULL, false, true FROM own JOIN pg_proc p ON p.oid = own.oid
    WHERE p.prokind IN ('f', 'a') AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
)
SELECT n.nspname AS schema, p.proname AS name,
    format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS signature,
    coalesce(array_agg(DISTINCT c.how ORDER BY c.how) FILTER (WHERE c.how IS NOT NULL), '{}') AS how,
    bool_or(c.named) AS named, bool_or(c.scalar) AS scalar, bool_and(c.checked) AS checked,
    ARRAY(SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM mine) ORDER BY 1) AS "to"
FROM every c JOIN pg_proc p ON p.oid = c.function JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE (p.oid IN (SELECT oid FROM own) OR (p.oid < 16384 AND c.checked))
    AND (NOT c.checked OR EXISTS (SELECT FROM mine WHERE has_function_privilege(mine.oid, p.oid, 'EXECUTE')))
GROUP BY p.oid, n.nspname ORDER BY n.nspname, p.proname, 3
