-- Times are in microseconds since 1970. Names are compared octet by octet: an index that follows the rules of a
-- language is wrong on a machine whose C library has others.

-- Locked by whoever appends, and never updated: of a row that is updated a version stays for every change since the
-- oldest open transaction of the cluster, and finding the last one takes ever longer.
CREATE TABLE synkrone.log_lock (the boolean PRIMARY KEY DEFAULT true CHECK (the));
INSERT INTO synkrone.log_lock DEFAULT VALUES;

-- Up to the floor everything has left the log, though not every inbox.
CREATE TABLE synkrone.log (
    the boolean PRIMARY KEY DEFAULT true CHECK (the),
    secret bytea,
    floor bigint NOT NULL DEFAULT 0,
    floor_stored_at bigint NOT NULL DEFAULT 0);
INSERT INTO synkrone.log DEFAULT VALUES;

CREATE TABLE synkrone.epochs (
    number integer PRIMARY KEY,
    epoch text COLLATE "C" NOT NULL UNIQUE,
    first bigint NOT NULL,
    opened_at bigint NOT NULL,
    incarnation text COLLATE "C" NOT NULL);

-- Of a notification rooms and payload are with its contents.
CREATE TABLE synkrone.entries (
    log_offset bigint PRIMARY KEY,
    stored_at bigint NOT NULL,
    event text COLLATE "C" NOT NULL,
    form smallint,
    rooms text COLLATE "C",
    payload text COLLATE "C");

-- A payload that is NULL was erased.
CREATE TABLE synkrone.contents (
    log_offset bigint PRIMARY KEY,
    stored_at bigint NOT NULL,
    expires_at bigint,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    form smallint NOT NULL,
    rooms text COLLATE "C",
    payload text COLLATE "C");

CREATE TABLE synkrone.ids (
    id text COLLATE "C" PRIMARY KEY,
    log_offset bigint NOT NULL,
    key text COLLATE "C",
    digest bytea);
CREATE UNIQUE INDEX ids_key ON synkrone.ids (key) WHERE key IS NOT NULL;

CREATE TABLE synkrone.placed (
    room text COLLATE "C" NOT NULL,
    log_offset bigint NOT NULL,
    item boolean NOT NULL,
    expires_at bigint,
    PRIMARY KEY (room, log_offset) INCLUDE (item, expires_at));

-- The last entry that a room lost for good.
CREATE TABLE synkrone.trimmed (room text COLLATE "C" PRIMARY KEY, log_offset bigint NOT NULL);

CREATE TABLE synkrone.starts (
    user_id text COLLATE "C" NOT NULL,
    room text COLLATE "C" NOT NULL,
    start_offset bigint NOT NULL,
    PRIMARY KEY (user_id, room));

CREATE TABLE synkrone.marks (
    user_id text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    log_offset bigint NOT NULL,
    PRIMARY KEY (user_id, role));

CREATE TABLE synkrone.state (
    user_id text COLLATE "C" NOT NULL,
    log_offset bigint NOT NULL,
    read_at bigint,
    seen_at bigint,
    archived_at bigint,
    deleted boolean NOT NULL,
    PRIMARY KEY (user_id, log_offset));
CREATE INDEX state_log_offset ON synkrone.state (log_offset);

CREATE TABLE synkrone.watermarks (
    user_id text COLLATE "C" NOT NULL,
    log_offset bigint NOT NULL,
    read_at bigint NOT NULL,
    PRIMARY KEY (user_id, log_offset));

CREATE TABLE synkrone.checkpoints (
    source text COLLATE "C" PRIMARY KEY,
    resume_id text COLLATE "C" NOT NULL);

-- What was appended under which name, until whoever did it knows.
CREATE TABLE synkrone.appends (
    name uuid PRIMARY KEY,
    stored_at bigint NOT NULL,
    first bigint NOT NULL,
    epoch_number integer NOT NULL);

CREATE FUNCTION synkrone.incarnation() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT concat_ws('/',
        (SELECT system_identifier FROM pg_control_system()),
        left(pg_walfile_name(pg_current_wal_lsn()), 8),
        extract(epoch FROM pg_postmaster_start_time()),
        (SELECT oid FROM pg_database WHERE datname = current_database()))
$$;
COMMENT ON FUNCTION synkrone.incarnation() IS
    'Another one: it may not have all that this one had. A promotion changes the timeline, a copy or a backup that is '
    'restored the time of the start, and a dump the database.';

CREATE FUNCTION synkrone.head() RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT greatest((SELECT log_offset FROM synkrone.entries ORDER BY log_offset DESC LIMIT 1), floor)
    FROM synkrone.log
$$;

CREATE FUNCTION synkrone.lock_log(
    at bigint, known bigint, OUT head bigint, OUT stored_at bigint, OUT epoch_number integer)
LANGUAGE plpgsql AS $$
DECLARE
    newest synkrone.epochs;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'appending needs the isolation level READ COMMITTED';
    END IF;
    -- For the transaction: what is set on a function ends with it, before the commit.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'local', true);
    END IF;
    PERFORM FROM synkrone.log_lock FOR UPDATE;
    -- The statement that waits sees what was there before it waited; those that follow see all.
    SELECT entries.log_offset, entries.stored_at INTO head, stored_at
    FROM synkrone.entries WHERE log_offset >= known ORDER BY log_offset DESC LIMIT 1;
    IF NOT FOUND THEN
        SELECT entries.log_offset, entries.stored_at INTO head, stored_at
        FROM synkrone.entries ORDER BY log_offset DESC LIMIT 1;
    END IF;
    SELECT greatest(head, floor), greatest(stored_at, floor_stored_at, at) INTO head, stored_at FROM synkrone.log;
    SELECT * INTO newest FROM synkrone.epochs ORDER BY number DESC LIMIT 1;
    epoch_number := newest.number;
    IF newest.incarnation IS DISTINCT FROM synkrone.incarnation() THEN
        INSERT INTO synkrone.epochs (number, epoch, first, opened_at, incarnation)
        VALUES (coalesce(newest.number, 0) + 1, encode(uuid_send(gen_random_uuid()), 'hex'), head + 1, at,
            synkrone.incarnation())
        RETURNING number INTO epoch_number;
    END IF;
END
$$;
COMMENT ON FUNCTION synkrone.lock_log IS
    'Nobody else appends until the transaction ends. The head is found at or behind an offset that is known to be '
    'there. Where the database is another one than that of the last epoch, a new epoch begins.';

CREATE FUNCTION synkrone.append(
    append_name uuid, answered uuid[], at bigint, known bigint,
    new_ids text[], new_keys text[], new_digests text[], new_types text[], new_form smallint, new_expiries bigint[],
    new_rooms text[], new_payloads text[], new_sources text[], new_resume_ids text[],
    OUT first bigint, OUT epoch_number integer, OUT taken boolean)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
BEGIN
    taken := false;
    locked := synkrone.lock_log(at, known);
    SELECT appends.first, appends.epoch_number INTO first, epoch_number
    FROM synkrone.appends WHERE name = append_name;
    IF FOUND THEN
        RETURN;
    END IF;
    -- Each by itself: joined, they could be looked for by reading the whole table.
    SELECT coalesce(bool_or(
        (SELECT true FROM synkrone.ids WHERE ids.id = given.id)
        OR (SELECT true FROM synkrone.ids WHERE ids.key = given.key)), false)
    INTO taken FROM unnest(new_ids, new_keys) AS given (id, key);
    IF taken THEN
        RETURN;
    END IF;
    first := locked.head + 1;
    epoch_number := locked.epoch_number;
    INSERT INTO synkrone.ids (id, log_offset, key, digest)
    SELECT given.id, append.first + given.number - 1, given.key, decode(given.digest, 'hex')
    FROM unnest(new_ids, new_keys, new_digests) WITH ORDINALITY AS given (id, key, digest, number);
    INSERT INTO synkrone.contents (log_offset, stored_at, expires_at, id, type, form, rooms, payload)
    SELECT append.first + given.number - 1, locked.stored_at, given.expires_at, given.id, given.type, new_form,
        given.rooms, given.payload
    FROM unnest(new_expiries, new_ids, new_types, new_rooms, new_payloads) WITH ORDINALITY
        AS given (expires_at, id, type, rooms, payload, number);
    INSERT INTO synkrone.entries (log_offset, stored_at, event)
    SELECT append.first + given.number - 1, locked.stored_at, 'notification.new'
    FROM generate_series(1, cardinality(new_ids)) AS given (number);
    INSERT INTO synkrone.placed (room, log_offset, item, expires_at)
    SELECT named.room, append.first + given.number - 1, true, given.expires_at
    FROM unnest(new_rooms, new_expiries) WITH ORDINALITY AS given (rooms, expires_at, number),
        string_to_table(given.rooms, E'\n') AS named (room);
    INSERT INTO synkrone.checkpoints AS stored (source, resume_id)
    SELECT given.source, given.resume_id FROM unnest(new_sources, new_resume_ids) AS given (source, resume_id)
    ON CONFLICT (source) DO UPDATE SET resume_id = excluded.resume_id;
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, append.first, append.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.append IS
    'Notifications and checkpoints, in the order given, from the offset "first" on. Said again, also by another '
    'connection, it answers as it did. Where an id or a key is taken nothing is stored.';

CREATE FUNCTION synkrone.append_changes(
    append_name uuid, answered uuid[], at bigint, known bigint,
    new_events text[], new_form smallint, new_rooms text[], new_payloads text[],
    readers text[], read_by integer[], new_read_at bigint[],
    OUT first bigint, OUT epoch_number integer)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
BEGIN
    locked := synkrone.lock_log(at, known);
    first := locked.head + 1;
    epoch_number := locked.epoch_number;
    INSERT INTO synkrone.entries (log_offset, stored_at, event, form, rooms, payload)
    SELECT append_changes.first + given.number - 1, locked.stored_at, given.event, new_form, given.room, given.payload
    FROM unnest(new_events, new_rooms, new_payloads) WITH ORDINALITY AS given (event, room, payload, number);
    INSERT INTO synkrone.placed (room, log_offset, item)
    SELECT given.room, append_changes.first + given.number - 1, false
    FROM unnest(new_rooms) WITH ORDINALITY AS given (room, number);
    INSERT INTO synkrone.watermarks (user_id, log_offset, read_at)
    SELECT given.user_id, append_changes.first + given.number, given.read_at
    FROM unnest(readers, read_by, new_read_at) AS given (user_id, number, read_at);
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, append_changes.first, append_changes.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.append_changes IS
    'What users did to notifications, in the order given. By the entry with the number "read_by", from 0 on, one of the '
    '"readers" has read everything before it. Of the same name the second one fails.';

CREATE FUNCTION synkrone.aged_upto(aged_before bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    aged bigint;
    young bigint;
    middle record;
BEGIN
    SELECT log_offset, stored_at INTO middle FROM synkrone.contents ORDER BY log_offset LIMIT 1;
    IF NOT FOUND OR middle.stored_at > aged_before THEN
        RETURN 0;
    END IF;
    aged := middle.log_offset;
    young := synkrone.head() + 1;
    WHILE young - aged > 1 LOOP
        SELECT log_offset, stored_at INTO middle FROM synkrone.contents
        WHERE log_offset >= (aged + young) / 2 ORDER BY log_offset LIMIT 1;
        IF NOT FOUND OR middle.stored_at > aged_before THEN
            young := (aged + young) / 2;
        ELSE
            aged := middle.log_offset;
        END IF;
    END LOOP;
    RETURN aged;
END
$$;
COMMENT ON FUNCTION synkrone.aged_upto IS
    'The offset up to which all contents were stored at that time or before. Along the log these times never decrease.';
