-- What is outside of the schema $1 and would be dropped with it, and whether something else in the list owns it.
WITH RECURSIVE place AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname = $1
), gone (class, oid, part) AS (
    SELECT 'pg_namespace'::regclass::oid, oid, 0 FROM place
    UNION
    SELECT next.* FROM gone CROSS JOIN LATERAL (
        SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
            WHERE d.refclassid = gone.class AND d.refobjid = gone.oid AND gone.part IN (0, d.refobjsubid)
        UNION ALL
        -- With a part of an object, and with a member of an extension, the whole is dropped.
        SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
            WHERE d.classid = gone.class AND d.objid = gone.oid AND gone.part IN (0, d.objsubid) AND d.deptype IN ('i', 'e')
    ) next
), placed AS (
    SELECT gone.class, gone.oid, gone.part, CASE gone.class
        WHEN 'pg_namespace'::regclass THEN gone.oid
        WHEN 'pg_default_acl'::regclass THEN (SELECT defaclnamespace FROM pg_default_acl x WHERE x.oid = gone.oid)
        WHEN 'pg_amop'::regclass THEN
            (SELECT opfnamespace FROM pg_amop x JOIN pg_opfamily f ON f.oid = x.amopfamily WHERE x.oid = gone.oid)
        WHEN 'pg_amproc'::regclass THEN
            (SELECT opfnamespace FROM pg_amproc x JOIN pg_opfamily f ON f.oid = x.amprocfamily WHERE x.oid = gone.oid)
        -- A cast belongs to the schema of either type.
        WHEN 'pg_cast'::regclass THEN
            (SELECT t.typnamespace FROM pg_cast x JOIN pg_type t ON t.oid IN (x.castsource, x.casttarget)
                WHERE x.oid = gone.oid AND t.typnamespace = place.oid LIMIT 1)
        -- A trigger of a foreign key belongs to the table of the key, also where it is on the other table.
        WHEN 'pg_trigger'::regclass THEN
            (SELECT c.relnamespace FROM pg_trigger x LEFT JOIN pg_constraint k ON k.oid = x.tgconstraint AND x.tgisinternal
                JOIN pg_class c ON c.oid = coalesce(nullif(k.conrelid, 0), x.tgrelid) WHERE x.oid = gone.oid)
        WHEN 'pg_rewrite'::regclass THEN
            (SELECT relnamespace FROM pg_rewrite x JOIN pg_class c ON c.oid = x.ev_class WHERE x.oid = gone.oid)
        WHEN 'pg_attrdef'::regclass THEN
            (SELECT relnamespace FROM pg_attrdef x JOIN pg_class c ON c.oid = x.adrelid WHERE x.oid = gone.oid)
        WHEN 'pg_policy'::regclass THEN
            (SELECT relnamespace FROM pg_policy x JOIN pg_class c ON c.oid = x.polrelid WHERE x.oid = gone.oid)
        WHEN 'pg_publication_rel'::regclass THEN
            (SELECT relnamespace FROM pg_publication_rel x JOIN pg_class c ON c.oid = x.prrelid WHERE x.oid = gone.oid)
        -- Of any other class: the schema that PostgreSQL names; none for objects of the whole database.
        ELSE (SELECT n.oid FROM pg_namespace n WHERE n.nspname = (pg_identify_object(gone.class, gone.oid, gone.part)).schema)
        END AS namespace
    FROM gone, place
), outside AS (
    SELECT placed.class, placed.oid, placed.part FROM placed, place
    -- The entry of a schema in a publication is one of the schema. PostgreSQL 14 has no such class.
    WHERE coalesce(placed.namespace, 0) NOT IN (place.oid, 'pg_toast'::regnamespace)
        AND placed.class::regclass::text <> 'pg_publication_namespace'
)
SELECT found.object, found.owned FROM (SELECT pg_describe_object(class, oid, part) AS object, EXISTS (
        SELECT FROM outside o WHERE o.class = outside.class AND o.oid = outside.oid AND o.part = 0 AND outside.part <> 0
    ) OR EXISTS (
        SELECT FROM pg_depend d JOIN outside o ON o.class = d.refclassid AND o.oid = d.refobjid AND o.part IN (0, d.refobjsubid)
        WHERE d.classid = outside.class AND d.objid = outside.oid AND d.deptype <> 'n'
            AND (o.class, o.oid) <> (outside.class, outside.oid)
    ) AS owned, class <> 'pg_extension'::regclass AS last
    FROM outside
    UNION ALL
    SELECT format('partition %s of table %s', c.oid::regclass, p.oid::regclass), false, true
    FROM place JOIN pg_class c ON c.relnamespace = place.oid AND c.relispartition AND c.relkind NOT IN ('i', 'I')
        JOIN pg_inherits i ON i.inhrelid = c.oid JOIN pg_class p ON p.oid = i.inhparent
    WHERE p.relnamespace <> place.oid
) AS found
-- An extension first: what uses it is not to be dropped.
ORDER BY found.owned, found.last, found.object
