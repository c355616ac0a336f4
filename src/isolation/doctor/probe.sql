DO $doctor$
DECLARE
    tables CONSTANT json := '{TABLES}';
    t json;
    s json;
    who text;
    seen boolean;
    changed bigint;
    made jsonb;
    -- The row of A in each table, by the oid of the table.
    rows jsonb := '{}';
    results jsonb := '[]';
    state text;
    message text;
    held_by text;
    kind text;
    context text;
BEGIN
    -- The statements have the forms that Citus takes, and `SET LOCAL`, which Citus propagates and `set_config` it does not.
    -- Citus cannot roll back to a savepoint on a connection that it opened after it.
    FOR t IN SELECT * FROM json_array_elements(tables) LOOP
        CONTINUE WHEN NOT (t->>'distributed')::bool;
        EXECUTE format('SET LOCAL app.tenant_id = %L', t->>'b');
        EXECUTE format('SELECT count(*) FROM %s', t->>'ident');
    END LOOP;

    -- The exception at the end of this block rolls back all of it.
    BEGIN
        FOR t IN SELECT * FROM json_array_elements(tables) LOOP
            -- A row of each shared table that the row of A references.
            {SHARED}

            -- Neither a session without a tenant nor a tenant that does not exist sees a row.
            FOREACH who IN ARRAY ARRAY['', t->>'b'] LOOP
                CONTINUE WHEN NOT (t->>'reads')::bool;
                BEGIN
                    EXECUTE format('SET LOCAL app.tenant_id = %L', who);
                    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s%s)', t->>'ident', t->>'sample') INTO seen;
                    IF seen THEN
                        results := results || jsonb_build_object('table', t->>'name', 'kind', 'read', 'detail',
                            CASE who WHEN '' THEN 'rows are visible without a tenant' ELSE 'rows are visible to a tenant that has none' END);
                    END IF;
                EXCEPTION WHEN OTHERS THEN
                    -- A policy may raise an error where no tenant is set.
                    IF who <> '' OR SQLSTATE = '55P03' THEN
                        results := results || jsonb_build_object('table', t->>'name', 'kind', 'fault', 'detail', SQLERRM);
                    END IF;
                END;
            END LOOP;

            -- Only A can insert a row of A.
            FOREACH who IN ARRAY ARRAY['', t->>'b'] LOOP
                CONTINUE WHEN NOT (t->>'inserts')::bool;
                BEGIN
                    EXECUTE format('SET LOCAL app.tenant_id = %L', who);
                    EXECUTE t->>'insert' USING rows;
                    -- A trigger may have set the tenant column, or removed the row.
                    EXECUTE format('SET LOCAL app.tenant_id = %L', t->>'a');
                    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s WHERE %s = %s)', t->>'ident', t->>'tenant', t->>'value_a') INTO seen;
                    RAISE EXCEPTION USING ERRCODE = CASE WHEN seen THEN 'TD001' ELSE 'TD002' END;
                EXCEPTION WHEN OTHERS THEN
                    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, held_by = CONSTRAINT_NAME,
                        kind = PG_DATATYPE_NAME, context = PG_EXCEPTION_CONTEXT;
                    -- PostgreSQL checks policies before the constraints of the table: a row that failed at a constraint
                    -- passed the policies. Domains, partition routing and triggers run before the policies.
                    IF state = 'TD001' OR (state LIKE '23%' AND kind = '' AND NOT (state = '23514' AND held_by = '')
                        AND context !~ 'function (?!inline_code_block)')
                    THEN
                        results := results || jsonb_build_object('table', t->>'name', 'kind', 'write', 'detail',
                            CASE who WHEN '' THEN 'a row was inserted without a tenant' ELSE 'a row was inserted for another tenant' END);
                    ELSIF state = '55P03' THEN
                        results := results || jsonb_build_object('table', t->>'name', 'kind', 'fault', 'detail', message);
                    END IF;
                END;
            END LOOP;

            IF t->>'row' IS NOT NULL THEN
                BEGIN
                    EXECUTE format('SET LOCAL app.tenant_id = %L', t->>'a');
                    EXECUTE t->>'row' INTO made USING rows;
                    IF made IS NULL THEN
                        RAISE EXCEPTION 'the insert returned no row';
                    END IF;
                    rows := rows || jsonb_build_object(t->>'oid', made);
                    results := results || jsonb_build_object('table', t->>'name', 'kind', 'made', 'detail', '');
                EXCEPTION WHEN OTHERS THEN
                    results := results || jsonb_build_object('table', t->>'name', 'kind', 'unmade', 'detail', SQLERRM);
                END;
            END IF;
        END LOOP;

        -- All rows of A exist now. Try to reach them, in partitions and children too.
        FOR t IN SELECT * FROM json_array_elements(tables) LOOP
            FOREACH who IN ARRAY ARRAY['', t->>'b'] LOOP
                FOREACH kind IN ARRAY ARRAY['reads', 'updates', 'deletes'] LOOP
                    CONTINUE WHEN NOT (t->>kind)::bool;
                    BEGIN
                        EXECUTE format('SET LOCAL app.tenant_id = %L', who);
                        EXECUTE format(CASE kind
                            WHEN 'reads' THEN 'SELECT 1 FROM %1$s WHERE %2$s = %3$s'
                            WHEN 'updates' THEN 'UPDATE %1$s SET %2$s = %2$s WHERE %2$s = %3$s'
                            ELSE 'DELETE FROM %1$s WHERE %2$s = %3$s' END, t->>'ident', t->>'tenant', t->>'value_a');
                        GET DIAGNOSTICS changed = ROW_COUNT;
                        RAISE EXCEPTION USING ERRCODE = CASE WHEN changed > 0 THEN 'TD001' ELSE 'TD002' END;
                    EXCEPTION WHEN OTHERS THEN
                        IF SQLSTATE = 'TD001' THEN
                            results := results || jsonb_build_object('table', t->>'name',
                                'kind', CASE kind WHEN 'reads' THEN 'read' ELSE 'write' END,
                                'detail', format('a row was %s %s',
                                    CASE kind WHEN 'reads' THEN 'read' WHEN 'updates' THEN 'updated' ELSE 'deleted' END,
                                    CASE who WHEN '' THEN 'without a tenant' ELSE 'by another tenant' END));
                        ELSIF SQLSTATE = '55P03' THEN
                            results := results || jsonb_build_object('table', t->>'name', 'kind', 'fault', 'detail', SQLERRM);
                        END IF;
                    END;
                END LOOP;
            END LOOP;

            -- A cannot assign its row to another tenant.
            CONTINUE WHEN NOT (t->>'updates')::bool;
            BEGIN
                EXECUTE format('SET LOCAL app.tenant_id = %L', t->>'a');
                EXECUTE format('UPDATE %1$s SET %2$s = %4$s WHERE %2$s = %3$s', t->>'ident', t->>'tenant', t->>'value_a', t->>'value_b');
                GET DIAGNOSTICS changed = ROW_COUNT;
                EXECUTE format('SET LOCAL app.tenant_id = %L', t->>'b');
                EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s WHERE %s = %s)', t->>'ident', t->>'tenant', t->>'value_b') INTO seen;
                RAISE EXCEPTION USING ERRCODE = CASE WHEN seen AND changed > 0 THEN 'TD001' ELSE 'TD002' END;
            EXCEPTION WHEN OTHERS THEN
                IF SQLSTATE = 'TD001' THEN
                    results := results || jsonb_build_object('table', t->>'name', 'kind', 'write', 'detail', 'a row was assigned to another tenant');
                END IF;
            END;
        END LOOP;
        RAISE EXCEPTION USING ERRCODE = 'TD000';
    EXCEPTION WHEN SQLSTATE 'TD000' THEN
        NULL;
    END;
    PERFORM set_config('tenancy.doctor', results::text, true);
END
$doctor$
