FOR s IN SELECT * FROM json_array_elements(t->'shared') LOOP
    CONTINUE WHEN rows ? (s->>'oid');
    BEGIN
        EXECUTE format('SELECT to_jsonb(s) FROM %s s LIMIT 1', s->>'ident') INTO made;
        IF made IS NOT NULL THEN
            rows := rows || jsonb_build_object(s->>'oid', made);
        END IF;
    EXCEPTION WHEN OTHERS THEN
        -- Then the row that references it cannot be inserted, which the probe reports.
        NULL;
    END;
END LOOP;
