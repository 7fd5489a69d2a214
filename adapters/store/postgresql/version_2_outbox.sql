-- What applications publish in their own transactions, until it is in the log. A number is given out after its
-- transaction has an id (see synkrone_publish). "weight" is about how many bytes it takes.
CREATE TABLE synkrone.outbox (
    number bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    published_at bigint NOT NULL,
    weight integer NOT NULL,
    recipient json NOT NULL,
    type text COLLATE "C" NOT NULL,
    title text COLLATE "C",
    body text COLLATE "C",
    data json,
    id text COLLATE "C",
    expires_at bigint
-- Rows stay for a moment: there are many dead ones to few that live.
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- What cannot be published as it is, with its number in the outbox, and why.
CREATE TABLE synkrone.parked (
    number bigint PRIMARY KEY,
    published_at bigint NOT NULL,
    weight integer NOT NULL,
    recipient json NOT NULL,
    type text COLLATE "C" NOT NULL,
    title text COLLATE "C",
    body text COLLATE "C",
    data json,
    id text COLLATE "C",
    expires_at bigint,
    parked_at bigint NOT NULL,
    reason text COLLATE "C" NOT NULL);

CREATE FUNCTION synkrone.name_fault(name text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN name IS NULL THEN 'must be a string'
        WHEN char_length(name) NOT BETWEEN 1 AND 128 THEN 'must be 1 to 128 characters'
        WHEN name COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'
            THEN 'holds a control character or a line separator, which is not allowed'
    END
$$;
COMMENT ON FUNCTION synkrone.name_fault IS 'What is wrong with a value that is no name of a user, a role or a type.';

CREATE FUNCTION synkrone.recipient_fault(recipient json) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    members integer;
    kind text;
    whom json;
    fault text;
BEGIN
    IF recipient IS NULL THEN
        RETURN 'recipient: is required';
    ELSIF recipient::text LIKE '%\\u0000%' THEN
        -- No text of PostgreSQL can be made of it.
        RETURN 'recipient: holds U+0000, which is not allowed';
    ELSIF json_typeof(recipient) = 'object' THEN
        SELECT count(*), min(key) INTO members, kind FROM json_object_keys(recipient) AS member (key);
    END IF;
    IF members IS DISTINCT FROM 1 OR kind NOT IN ('user', 'users', 'role', 'everyone') THEN
        RETURN 'recipient: must be exactly one of {user}, {users}, {role}, {everyone: true}';
    END IF;
    whom := recipient -> kind;
    IF kind = 'everyone' THEN
        RETURN CASE WHEN whom::text <> 'true' THEN 'recipient.everyone: must be true' END;
    ELSIF kind <> 'users' THEN
        RETURN 'recipient.' || kind || ': '
            || synkrone.name_fault(CASE json_typeof(whom) WHEN 'string' THEN whom #>> '{}' END);
    ELSIF json_typeof(whom) <> 'array' THEN
        RETURN 'recipient.users: must be a list of user ids';
    ELSIF json_array_length(whom) NOT BETWEEN 1 AND 10000 THEN
        RETURN 'recipient.users: must name 1 to 10000 users';
    END IF;
    SELECT 'recipient.users[' || given.number - 1 || ']: ' || found.fault INTO fault
    FROM json_array_elements(whom) WITH ORDINALITY AS given (name, number),
        synkrone.name_fault(CASE json_typeof(given.name) WHEN 'string' THEN given.name #>> '{}' END) AS found (fault)
    WHERE found.fault IS NOT NULL ORDER BY given.number LIMIT 1;
    RETURN fault;
END
$$;
COMMENT ON FUNCTION synkrone.recipient_fault IS 'What is wrong with whom something is to be published for.';

CREATE FUNCTION synkrone.synkrone_publish(
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
        'id: ' || CASE WHEN id COLLATE "C" !~ '^[A-Za-z0-9._:-]{1,128}$'
            THEN 'must be 1 to 128 of A-Z, a-z, 0-9, ''.'', ''_'', '':'', ''-''' END,
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
COMMENT ON FUNCTION synkrone.synkrone_publish IS
    'Publish a notification once this transaction is committed, and not if it is rolled back. The number is the one '
    'under which it is listed while it waits.';
REVOKE ALL ON FUNCTION synkrone.synkrone_publish FROM PUBLIC;

CREATE FUNCTION synkrone.take_from_outbox(append_name uuid, numbers bigint[], published bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    taken integer;
BEGIN
    -- What was appended under that name by an earlier transaction took the rows with it; and where nothing was
    -- appended they stay.
    PERFORM FROM synkrone.appends WHERE name = append_name AND xmin = pg_current_xact_id()::xid;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    DELETE FROM synkrone.outbox
    WHERE number = ANY (numbers) AND (number, published_at) IN (SELECT * FROM unnest(numbers, published));
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken <> cardinality(numbers) THEN
        RAISE EXCEPTION 'another server took some of these out of the outbox' USING ERRCODE = 'SK001';
    END IF;
END
$$;
COMMENT ON FUNCTION synkrone.take_from_outbox IS
    'In the statement of an append: with what is appended these rows go, all of them, or nothing is done. By their '
    'numbers and times: a database that took the place of another one may give a number again.';

CREATE FUNCTION synkrone.park(numbers bigint[], published bigint[], reasons text[]) RETURNS SETOF bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM synkrone.outbox
        WHERE number = ANY (numbers) AND (number, published_at) IN (SELECT * FROM unnest(numbers, published))
        RETURNING *)
    INSERT INTO synkrone.parked
        (number, published_at, weight, recipient, type, title, body, data, id, expires_at, parked_at, reason)
    SELECT gone.*, extract(epoch FROM clock_timestamp()) * 1000000, given.reason
    FROM gone JOIN unnest(numbers, reasons) AS given (number, reason) USING (number)
    ORDER BY number
    RETURNING number
$$;
COMMENT ON FUNCTION synkrone.park IS 'Set aside what waits in the outbox, each with why; the numbers of what was.';

CREATE FUNCTION synkrone.retry_parked(numbers bigint[]) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM synkrone.parked WHERE numbers IS NULL OR number = ANY (numbers) RETURNING *),
    again AS (
        INSERT INTO synkrone.outbox (published_at, weight, recipient, type, title, body, data, id, expires_at)
        SELECT published_at, weight, recipient, type, title, body, data, id, expires_at FROM gone ORDER BY gone.number
        RETURNING number)
    SELECT count(*) FROM again
$$;
COMMENT ON FUNCTION synkrone.retry_parked IS
    'Put back into the outbox, at its end and under new numbers, what was parked: all of it for NULL. How many.';
