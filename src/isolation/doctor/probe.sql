DO $doctor$
DECLARE
    tables CONSTANT json := '{TABLES}';
    t json;
    who text;
    seen boolean;
    changed bigint;
    made jsonb;
    -- The row of A in each table, by the table.
    rows jsonb := '{}';
    said jsonb := '[]';
    state text;
    message text;
    held_by text;
    kind text;
    context text;
BEGIN
    -- All of this is undone at its end.
    BEGIN
        FOR t IN SELECT * FROM json_array_elements(tables) LOOP
            -- Nothing is there for nobody, and nothing for a tenant that does not exist.
            FOREACH who IN ARRAY ARRAY['', t->>'b'] LOOP
                CONTINUE WHEN NOT (t->>'reads')::bool;
                BEGIN
                    PERFORM set_config('app.tenant_id', who, true);
                    EXECUTE format('SELECT EXISTS (SELECT FROM %s%s)', t->>'ident', t->>'sample') INTO seen;
                    IF seen THEN
                        said := said || jsonb_build_object('table', t->>'name', 'is', 'read', 'how',
                            CASE who WHEN '' THEN 'rows were seen without a tenant' ELSE 'rows were seen by a tenant that has none' END);
                    END IF;
                EXCEPTION WHEN OTHERS THEN
                    -- A policy may refuse to answer where no tenant is set.
                    IF who <> '' OR SQLSTATE = '55P03' THEN
                        said := said || jsonb_build_object('table', t->>'name', 'is', 'fault', 'how', SQLERRM);
                    END IF;
                END;
            END LOOP;

            -- Nobody but A adds a row of A.
            FOREACH who IN ARRAY ARRAY['', t->>'b'] LOOP
                CONTINUE WHEN NOT (t->>'inserts')::bool;
                BEGIN
                    PERFORM set_config('app.tenant_id', who, true);
                    EXECUTE t->>'insert' USING rows;
                    -- A trigger may have made it the right tenant's, or none.
                    PERFORM set_config('app.tenant_id', t->>'a', true);
                    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %s = %s)', t->>'ident', t->>'tenant', t->>'value_a') INTO seen;
                    RAISE EXCEPTION USING ERRCODE = CASE WHEN seen THEN 'TD001' ELSE 'TD002' END;
                EXCEPTION WHEN OTHERS THEN
                    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, held_by = CONSTRAINT_NAME,
                        kind = PG_DATATYPE_NAME, context = PG_EXCEPTION_CONTEXT;
                    -- Policies are asked before constraints: what failed by one of the table's was let through. Before
                    -- the policies stand domains, the choice of a partition, and triggers.
                    IF state = 'TD001' OR (state LIKE '23%' AND kind = '' AND NOT (state = '23514' AND held_by = '')
                        AND context !~ 'function (?!inline_code_block)')
                    THEN
                        said := said || jsonb_build_object('table', t->>'name', 'is', 'write', 'how',
                            CASE who WHEN '' THEN 'a row was added without a tenant' ELSE 'a row was added for another tenant' END);
                    ELSIF state = '55P03' THEN
                        said := said || jsonb_build_object('table', t->>'name', 'is', 'fault', 'how', message);
                    END IF;
                END;
            END LOOP;

            IF t->>'row' IS NOT NULL THEN
                BEGIN
                    PERFORM set_config('app.tenant_id', t->>'a', true);
                    EXECUTE t->>'row' INTO made USING rows;
                    IF made IS NULL THEN
                        RAISE EXCEPTION 'it was not kept';
                    END IF;
                    rows := rows || jsonb_build_object(t->>'oid', made);
                    said := said || jsonb_build_object('table', t->>'name', 'is', 'made', 'how', '');
                EXCEPTION WHEN OTHERS THEN
                    said := said || jsonb_build_object('table', t->>'name', 'is', 'unmade', 'how', SQLERRM);
                END;
            END IF;
        END LOOP;

        -- The rows of A, with all of them there, partitions and children among them.
        FOR t IN SELECT * FROM json_array_elements(tables) LOOP
            FOREACH who IN ARRAY ARRAY['', t->>'b'] LOOP
                FOREACH kind IN ARRAY ARRAY['reads', 'updates', 'deletes'] LOOP
                    CONTINUE WHEN NOT (t->>kind)::bool;
                    BEGIN
                        PERFORM set_config('app.tenant_id', who, true);
                        EXECUTE format(CASE kind
                            WHEN 'reads' THEN 'SELECT FROM %1$s WHERE %2$s = %3$s'
                            WHEN 'updates' THEN 'UPDATE %1$s SET %2$s = %2$s WHERE %2$s = %3$s'
                            ELSE 'DELETE FROM %1$s WHERE %2$s = %3$s' END, t->>'ident', t->>'tenant', t->>'value_a');
                        GET DIAGNOSTICS changed = ROW_COUNT;
                        RAISE EXCEPTION USING ERRCODE = CASE WHEN changed > 0 THEN 'TD001' ELSE 'TD002' END;
                    EXCEPTION WHEN OTHERS THEN
                        IF SQLSTATE = 'TD001' THEN
                            said := said || jsonb_build_object('table', t->>'name',
                                'is', CASE kind WHEN 'reads' THEN 'read' ELSE 'write' END,
                                'how', format('a row was %s %s',
                                    CASE kind WHEN 'reads' THEN 'seen' WHEN 'updates' THEN 'updated' ELSE 'deleted' END,
                                    CASE who WHEN '' THEN 'without a tenant' ELSE 'by another tenant' END));
                        ELSIF SQLSTATE = '55P03' THEN
                            said := said || jsonb_build_object('table', t->>'name', 'is', 'fault', 'how', SQLERRM);
                        END IF;
                    END;
                END LOOP;
            END LOOP;

            -- Nor does A give its row away.
            CONTINUE WHEN NOT (t->>'updates')::bool;
            BEGIN
                PERFORM set_config('app.tenant_id', t->>'a', true);
                EXECUTE format('UPDATE %1$s SET %2$s = %4$s WHERE %2$s = %3$s', t->>'ident', t->>'tenant', t->>'value_a', t->>'value_b');
                GET DIAGNOSTICS changed = ROW_COUNT;
                PERFORM set_config('app.tenant_id', t->>'b', true);
                EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %s = %s)', t->>'ident', t->>'tenant', t->>'value_b') INTO seen;
                RAISE EXCEPTION USING ERRCODE = CASE WHEN seen AND changed > 0 THEN 'TD001' ELSE 'TD002' END;
            EXCEPTION WHEN OTHERS THEN
                IF SQLSTATE = 'TD001' THEN
                    said := said || jsonb_build_object('table', t->>'name', 'is', 'write', 'how', 'a row was given to another tenant');
                END IF;
            END;
        END LOOP;
        RAISE EXCEPTION USING ERRCODE = 'TD000';
    EXCEPTION WHEN SQLSTATE 'TD000' THEN
        NULL;
    END;
    PERFORM set_config('tenancy.doctor', said::text, true);
END
$doctor$
