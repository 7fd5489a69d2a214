CREATE OR REPLACE FUNCTION synkrone.synkrone_publish(
    recipient json, type text, title text DEFAULT NULL, body text DEFAULT NULL, data json DEFAULT NULL,
    id text DEFAULT NULL, expires_at timestamptz DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    octets bigint;
    recipients integer;
    fault text;
    given_number bigint;
BEGIN
    data := CASE WHEN json_typeof(data) <> 'null' THEN data END;
    octets := octet_length(concat(recipient, type, title, body, data, id));
    fault := coalesce(
        synkrone.recipient_fault(recipient),
        'type: ' || CASE WHEN type IS NULL THEN 'is required' ELSE synkrone.name_fault(type) END,
        'data: ' || CASE WHEN json_typeof(data) <> 'object' THEN 'must be an object' END,
        'id: ' || CASE
            WHEN id COLLATE "C" !~ '^[A-Za-z0-9._:-]{1,128}$'
                THEN 'must be 1 to 128 of A-Z, a-z, 0-9, ''.'', ''_'', '':'', ''-'''
            WHEN id IN ('.', '..', 'batch')
                THEN 'must not be ''.'', ''..'' or ''batch'': nothing could be asked about it by its address' END,
        'expires_at: ' || CASE WHEN expires_at < '0001-01-02+00' OR expires_at >= '9999-12-31+00'
            THEN 'must be a time of the years 1 to 9999' END,
        CASE WHEN octets > 16777216
            THEN 'all arguments together have ' || octets || ' bytes, and 16777216 are allowed' END);
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'synkrone_publish: %', fault USING ERRCODE = 'invalid_parameter_value';
    END IF;
    recipients := CASE WHEN json_typeof(recipient -> 'users') = 'array' THEN json_array_length(recipient -> 'users')
        ELSE 1 END;
    -- Before a number is given out: whoever sees a higher one then sees that this transaction is open.
    PERFORM pg_current_xact_id();
    INSERT INTO synkrone.outbox (published_at, weight, recipient, type, title, body, data, id, expires_at)
    VALUES (extract(epoch FROM clock_timestamp()) * 1000000, octets + 1024 + 320 * recipients,
        recipient, type, title, body, data, id, extract(epoch FROM expires_at) * 1000000)
    RETURNING number INTO given_number;
    RETURN given_number;
END
$$;
