ALTER TABLE synkrone.outbox ADD COLUMN collapse_key text COLLATE "C";
ALTER TABLE synkrone.parked ADD COLUMN collapse_key text COLLATE "C";

CREATE FUNCTION synkrone.synkrone_publish_collapsing(
    collapse_key text, recipient json, type text, title text DEFAULT NULL, body text DEFAULT NULL,
    data json DEFAULT NULL, id text DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
    deliver_at timestamptz DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    given_number bigint;
    has_no_key boolean;
BEGIN
    IF collapse_key IS NULL OR collapse_key COLLATE "C" !~ '^[A-Za-z0-9._:-]{1,128}$' THEN
        RAISE EXCEPTION
            'synkrone_publish_collapsing: collapse_key: must be 1 to 128 of A-Z, a-z, 0-9, ''.'', ''_'', '':'', ''-'''
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    given_number := CASE WHEN deliver_at IS NULL
        THEN synkrone.synkrone_publish(recipient, type, title, body, data, id, expires_at)
        ELSE synkrone.synkrone_publish_at(deliver_at, recipient, type, title, body, data, id, expires_at) END;
    -- Whom it is for has been looked at by then, and is well formed.
    SELECT bool_or(given.one -> 'topic' IS NOT NULL)
        OR (recipient -> 'all_of' IS NOT NULL AND count(DISTINCT given.one ->> 'role') > 1)
    INTO has_no_key
    FROM json_array_elements(
        coalesce(recipient -> 'any_of', recipient -> 'all_of', json_build_array(recipient))) AS given (one);
    IF has_no_key THEN
        RAISE EXCEPTION
            'synkrone_publish_collapsing: collapse_key: is for users, roles or everyone, and for no topic and no all_of'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE synkrone.outbox SET collapse_key = collapse_key WHERE outbox.number = given_number;
    RETURN given_number;
END
$$;
COMMENT ON FUNCTION synkrone.synkrone_publish_collapsing IS
    'As synkrone_publish, or synkrone_publish_at where there is a time: it takes the place of those before it with the same '
    'key, with each of its recipients.';
REVOKE ALL ON FUNCTION synkrone.synkrone_publish_collapsing FROM PUBLIC;
