-- Notifications that wait for their time. Their ids are among those of the others, and lead to a "number" as an offset
-- below 0: so who appends, be it a node of before, knows such an id from one that is new. Of one that was cancelled
-- there is no "payload" any more, but a time at which it "ended"; where nobody is left whom it was for there are no
-- "rooms" either. "name" is that of the append that brought it.
CREATE TABLE synkrone.scheduled (
    number bigint PRIMARY KEY,
    due bigint NOT NULL,
    ended bigint,
    expires_at bigint,
    name uuid,
    id text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    digest text COLLATE "C",
    type text COLLATE "C" NOT NULL,
    form smallint NOT NULL,
    rooms text COLLATE "C",
    payload text COLLATE "C");
CREATE INDEX scheduled_due ON synkrone.scheduled (due, number) WHERE ended IS NULL;
CREATE INDEX scheduled_ended ON synkrone.scheduled (ended) WHERE ended IS NOT NULL;
CREATE INDEX scheduled_rooms ON synkrone.scheduled USING gin (string_to_array(rooms, E'\n')) WITH (fastupdate = off);

-- How many wait: counted, a million takes longer than to publish one more.
CREATE TABLE synkrone.waiting (number bigint NOT NULL) WITH (fillfactor = 10);
INSERT INTO synkrone.waiting VALUES (0);

CREATE FUNCTION synkrone.count_waiting() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    more bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT count(*) INTO more FROM those_after WHERE ended IS NULL;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT -count(*) INTO more FROM those_before WHERE ended IS NULL;
    ELSE
        SELECT (SELECT count(*) FROM those_after WHERE ended IS NULL)
            - (SELECT count(*) FROM those_before WHERE ended IS NULL) INTO more;
    END IF;
    IF more <> 0 THEN
        UPDATE synkrone.waiting SET number = number + more;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER scheduled_begins AFTER INSERT ON synkrone.scheduled
    REFERENCING NEW TABLE AS those_after FOR EACH STATEMENT EXECUTE FUNCTION synkrone.count_waiting();
CREATE TRIGGER scheduled_changes AFTER UPDATE ON synkrone.scheduled
    REFERENCING OLD TABLE AS those_before NEW TABLE AS those_after
    FOR EACH STATEMENT EXECUTE FUNCTION synkrone.count_waiting();
CREATE TRIGGER scheduled_leaves AFTER DELETE ON synkrone.scheduled
    REFERENCING OLD TABLE AS those_before FOR EACH STATEMENT EXECUTE FUNCTION synkrone.count_waiting();

CREATE FUNCTION synkrone.schedule(
    is_refused boolean, append_name uuid, new_ids text[], new_keys text[], new_digests text[], new_types text[],
    new_form smallint, new_dues bigint[], new_expiries bigint[], new_rooms text[], new_payloads text[], most bigint)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
BEGIN
    -- Whoever appends has the log, and so the numbers, for themselves.
    IF is_refused OR EXISTS (
        SELECT FROM synkrone.scheduled
        WHERE scheduled.number = -(SELECT ids.log_offset FROM synkrone.ids WHERE ids.id = new_ids[1])
            AND scheduled.name = append_name)
    THEN
        RETURN;
    END IF;
    -- Each by itself: joined, they could be looked for by reading the whole table.
    IF EXISTS (
        SELECT FROM unnest(new_ids, new_keys) AS given (id, key)
        WHERE (SELECT true FROM synkrone.ids WHERE ids.id = given.id)
            OR (SELECT true FROM synkrone.ids WHERE ids.key = given.key))
        OR EXISTS (SELECT FROM synkrone.tombstones) AND synkrone.are_sealed(new_ids, new_keys)
    THEN
        RAISE EXCEPTION 'an id or a key is taken' USING ERRCODE = 'SK002';
    END IF;
    IF (SELECT number FROM synkrone.waiting) + cardinality(new_ids) > most THEN
        RAISE EXCEPTION 'too many wait for their time' USING ERRCODE = 'SK003';
    END IF;
    -- Under the number of none that an erasure has yet to go through.
    last := greatest(
        (SELECT max(number) FROM synkrone.scheduled),
        (SELECT max(waits_upto) FROM synkrone.erasures WHERE done_at IS NULL), 0);
    INSERT INTO synkrone.scheduled (number, due, expires_at, name, id, key, digest, type, form, rooms, payload)
    SELECT last + given.number, given.due, given.expires_at, append_name, given.id, given.key, given.digest,
        given.type, new_form, given.rooms, given.payload
    FROM unnest(new_dues, new_expiries, new_ids, new_keys, new_digests, new_types, new_rooms, new_payloads)
        WITH ORDINALITY AS given (due, expires_at, id, key, digest, type, rooms, payload, number);
    INSERT INTO synkrone.ids (id, log_offset, key, digest)
    SELECT scheduled.id, -scheduled.number, scheduled.key, decode(scheduled.digest, 'hex')
    FROM synkrone.scheduled WHERE scheduled.number > last;
    UPDATE synkrone.erasures SET waits_again = true
    WHERE done_at IS NULL AND user_id IS NOT NULL AND NOT waits_again
        -- In a hash, as in withdraw_due.
        AND CASE WHEN true THEN 'user:' || user_id IN (
            SELECT string_to_table(array_to_string(new_rooms, E'\n'), E'\n')) END;
END
$$;
COMMENT ON FUNCTION synkrone.schedule IS
    'Have notifications wait for their time: to be called with what an append says of itself, in the same statement. '
    'Where an id or a key is taken, or more than "most" would wait, it fails, and the append with it. Said again it does '
    'nothing.';

CREATE FUNCTION synkrone.deliver_due(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    by_now bigint, most integer, most_bytes bigint)
RETURNS TABLE (
    new_offset bigint, new_epoch text, new_stored_at bigint, was_due bigint, ends bigint, new_rooms text,
    new_payload text)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
    numbers bigint[];
    due_now synkrone.scheduled[];
BEGIN
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    IF EXISTS (SELECT FROM synkrone.appends WHERE name = append_name) THEN
        RETURN;
    END IF;
    numbers := ARRAY(
        SELECT first.number FROM synkrone.scheduled AS first WHERE first.ended IS NULL AND first.due <= by_now
        ORDER BY first.due, first.number LIMIT most);
    -- Whoever changes one of them now is waited for, and has it changed, put off or cancelled then. No other may come in
    -- its place: somebody may be changing that.
    PERFORM FROM synkrone.scheduled WHERE number = ANY (numbers) ORDER BY number FOR UPDATE;
    PERFORM synkrone.withdraw_due(numbers);
    -- From here on they are looked for no more: joined, they could be by reading the whole table.
    SELECT array_agg(sized.first ORDER BY sized.place) INTO due_now FROM (
        SELECT first, row_number() OVER first_first AS place,
            sum(octet_length(first.rooms) + octet_length(first.payload)) OVER first_first AS size
        FROM (
            SELECT * FROM synkrone.scheduled WHERE number = ANY (numbers) AND ended IS NULL AND due <= by_now) AS first
        WINDOW first_first AS (ORDER BY first.due, first.number)) AS sized
    WHERE sized.place = 1 OR sized.size <= most_bytes;
    IF due_now IS NULL THEN
        RETURN;
    END IF;
    UPDATE synkrone.ids
    SET log_offset = locked.head + array_position(ARRAY(SELECT number FROM unnest(due_now)), -ids.log_offset)
    WHERE ids.id = ANY (ARRAY(SELECT given.id FROM unnest(due_now) AS given));
    INSERT INTO synkrone.contents (log_offset, stored_at, expires_at, id, type, form, rooms, payload)
    SELECT locked.head + ordinality, locked.stored_at, expires_at, id, type, form, rooms, payload
    FROM unnest(due_now) WITH ORDINALITY;
    INSERT INTO synkrone.entries (log_offset, stored_at, event)
    SELECT locked.head + given.place, locked.stored_at, 'notification.new'
    FROM generate_series(1, cardinality(due_now)) AS given (place);
    INSERT INTO synkrone.placed (room, log_offset, item, expires_at)
    SELECT named.room, locked.head + ordinality, true, given.expires_at
    FROM unnest(due_now) WITH ORDINALITY AS given, string_to_table(given.rooms, E'\n') AS named (room);
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, locked.head + 1, locked.epoch_number);
    DELETE FROM synkrone.scheduled WHERE number = ANY (ARRAY(SELECT given.number FROM unnest(due_now) AS given));
    RETURN QUERY
    SELECT locked.head + ordinality, locked.epoch, locked.stored_at, given.due, given.expires_at, given.rooms,
        given.payload
    FROM unnest(due_now) WITH ORDINALITY AS given ORDER BY ordinality;
END
$$;
COMMENT ON FUNCTION synkrone.deliver_due IS
    'What waits, and is due by a time, comes into the log: the first of it first, no more than "most", and of no more '
    'than "most_bytes" where there are several. Said again, also by another connection, it does nothing.';

CREATE FUNCTION synkrone.cancel_scheduled(cancelled_id text, at bigint, sync boolean) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    found_one synkrone.scheduled;
BEGIN
    PERFORM synkrone.set_durability(sync);
    SELECT scheduled.* INTO found_one FROM synkrone.scheduled
    WHERE number = -(SELECT ids.log_offset FROM synkrone.ids WHERE ids.id = cancelled_id) FOR UPDATE;
    IF found_one.number IS NULL OR synkrone.waits_for(found_one.rooms, found_one.number) IS NULL THEN
        RETURN 'unknown';
    ELSIF found_one.ended IS NOT NULL THEN
        RETURN 'ended';
    END IF;
    UPDATE synkrone.scheduled SET ended = coalesce(at, synkrone.microseconds()), payload = NULL
    WHERE number = found_one.number;
    RETURN 'done';
END
$$;
COMMENT ON FUNCTION synkrone.cancel_scheduled IS 'What waits under an id never comes into the log: whether it waits.';

CREATE FUNCTION synkrone.revise_scheduled(
    revised_number bigint, payload_before text, new_type text, new_form smallint, new_payload text,
    new_expires_at bigint, new_due bigint, sync boolean)
RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM synkrone.set_durability(sync);
    UPDATE synkrone.scheduled SET type = new_type, form = new_form, payload = new_payload, expires_at = new_expires_at,
        due = coalesce(new_due, due)
    WHERE number = revised_number AND payload = payload_before;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION synkrone.revise_scheduled IS
    'Give what waits other content, and another time where there is a "new_due": false where it is not there any more, or '
    'as it was.';

-- What applications publish in their own transactions, for a time of its own.
ALTER TABLE synkrone.outbox ADD COLUMN deliver_at bigint;
ALTER TABLE synkrone.parked ADD COLUMN deliver_at bigint;

CREATE FUNCTION synkrone.synkrone_publish_at(
    deliver_at timestamptz, recipient json, type text, title text DEFAULT NULL, body text DEFAULT NULL,
    data json DEFAULT NULL, id text DEFAULT NULL, expires_at timestamptz DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    given_number bigint;
BEGIN
    IF deliver_at IS NULL OR deliver_at < '0001-01-02+00' OR deliver_at >= '9999-12-31+00' THEN
        RAISE EXCEPTION 'synkrone_publish_at: deliver_at: must be a time of the years 1 to 9999'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF expires_at <= deliver_at THEN
        RAISE EXCEPTION 'synkrone_publish_at: expires_at: must be after deliver_at'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    given_number := synkrone.synkrone_publish(recipient, type, title, body, data, id, expires_at);
    UPDATE synkrone.outbox SET deliver_at = extract(epoch FROM deliver_at) * 1000000
    WHERE outbox.number = given_number;
    RETURN given_number;
END
$$;
COMMENT ON FUNCTION synkrone.synkrone_publish_at IS 'As synkrone_publish, for a time of its own: it is sent then.';
REVOKE ALL ON FUNCTION synkrone.synkrone_publish_at FROM PUBLIC;

CREATE OR REPLACE FUNCTION synkrone.park(numbers bigint[], published bigint[], reasons text[]) RETURNS SETOF bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM synkrone.outbox
        WHERE number = ANY (numbers) AND (number, published_at) IN (SELECT * FROM unnest(numbers, published))
        RETURNING *)
    INSERT INTO synkrone.parked (
        number, published_at, weight, recipient, type, title, body, data, id, expires_at, deliver_at, collapse_key,
        parked_at, reason)
    SELECT number, published_at, weight, recipient, type, title, body, data, id, expires_at, deliver_at, collapse_key,
        extract(epoch FROM clock_timestamp()) * 1000000, given.reason
    FROM gone JOIN unnest(numbers, reasons) AS given (number, reason) USING (number)
    ORDER BY number
    RETURNING number
$$;

CREATE OR REPLACE FUNCTION synkrone.retry_parked(numbers bigint[]) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM synkrone.parked WHERE numbers IS NULL OR number = ANY (numbers) RETURNING *),
    again AS (
        INSERT INTO synkrone.outbox (
            published_at, weight, recipient, type, title, body, data, id, expires_at, deliver_at, collapse_key)
        SELECT published_at, weight, recipient, type, title, body, data, id, expires_at, deliver_at, collapse_key
        FROM gone ORDER BY gone.number
        RETURNING number)
    SELECT count(*) FROM again
$$;
