DO $doctor$
DECLARE
    tables CONSTANT json := '{TABLES}';
    t json;
    s json;
    who text;
    kind text;
    changed bigint;
    made jsonb;
    rows jsonb := '{}';
    results jsonb := '[]';
BEGIN
    -- The exception at the end of this block rolls back all of it.
    BEGIN
        -- The rows of A, in the place of the session.
        FOR t IN SELECT * FROM json_array_elements(tables) LOOP
            CONTINUE WHEN t->>'row' IS NULL;
            {SHARED}
            BEGIN
                PERFORM set_config('app.tenant_id', t->>'a', true);
                EXECUTE t->>'row' INTO made USING rows;
                IF made IS NOT NULL THEN
                    rows := rows || jsonb_build_object(t->>'oid', made);
                END IF;
            EXCEPTION WHEN OTHERS THEN
                -- The probe of the place itself has a note about it.
                NULL;
            END;
        END LOOP;

        -- In the other place, as its role. Names have their schema.
        PERFORM set_config('role', {ROLE}, true), set_config('search_path', {PATH}, true);
        FOR t IN SELECT * FROM json_array_elements(tables) LOOP
            CONTINUE WHEN NOT (t->>'probed')::bool OR NOT rows ? (t->>'oid');
            FOREACH who IN ARRAY ARRAY['', t->>'b'] LOOP
                FOREACH kind IN ARRAY ARRAY['read', 'updated', 'deleted'] LOOP
                    BEGIN
                        PERFORM set_config('app.tenant_id', who, true);
                        EXECUTE format(CASE kind
                            WHEN 'read' THEN 'SELECT FROM %1$s WHERE %2$s = %3$s'
                            WHEN 'updated' THEN 'UPDATE %1$s SET %2$s = %2$s WHERE %2$s = %3$s'
                            ELSE 'DELETE FROM %1$s WHERE %2$s = %3$s' END, t->>'ident', t->>'tenant', t->>'value_a');
                        GET DIAGNOSTICS changed = ROW_COUNT;
                        RAISE EXCEPTION USING ERRCODE = CASE WHEN changed > 0 THEN 'TD001' ELSE 'TD002' END;
                    EXCEPTION WHEN OTHERS THEN
                        IF SQLSTATE IN ('TD001', '55P03') THEN
                            results := results || jsonb_build_object('table', t->>'name',
                                'kind', CASE WHEN SQLSTATE = '55P03' THEN 'fault' ELSE kind END,
                                'detail', CASE WHEN SQLSTATE = '55P03' THEN SQLERRM
                                    ELSE CASE who WHEN '' THEN 'without a tenant' ELSE 'by another tenant' END END);
                        END IF;
                    END;
                END LOOP;
            END LOOP;
        END LOOP;
        RAISE EXCEPTION USING ERRCODE = 'TD000';
    EXCEPTION WHEN SQLSTATE 'TD000' THEN
        NULL;
    END;
    PERFORM set_config('tenancy.doctor', results::text, true);
END
$doctor$
