DROP FUNCTION synkrone.append(
    uuid, uuid[], bigint, bigint, text[], text[], text[], text[], smallint, bigint[], text[], text[], text[], text[]);
DROP FUNCTION synkrone.append_changes(
    uuid, uuid[], bigint, bigint, text[], smallint, text[], text[], text[], integer[], bigint[]);
DROP FUNCTION synkrone.lock_log(bigint, bigint);

CREATE FUNCTION synkrone.microseconds() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;
COMMENT ON FUNCTION synkrone.microseconds IS 'The time, by the clock of the database.';

CREATE FUNCTION synkrone.reaches(given_epoch text, given_offset bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT given_offset <= coalesce(
            (SELECT later.first - 1 FROM synkrone.epochs AS later WHERE later.number > named.number
                ORDER BY later.number LIMIT 1),
            synkrone.head())
        FROM synkrone.epochs AS named WHERE named.epoch = given_epoch), false)
$$;
COMMENT ON FUNCTION synkrone.reaches IS 'Whether the log has, or had, an entry at a position: not where it was lost.';

CREATE FUNCTION synkrone.set_durability(sync boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    present text := current_setting('synchronous_commit');
BEGIN
    IF sync AND current_setting('synchronous_standby_names') = '' THEN
        RAISE EXCEPTION 'nothing is stored, as store_durability is sync and synchronous_standby_names is empty'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- For the transaction: what is set on a function ends with it, before the commit.
    IF sync AND present IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    ELSIF present = 'off' THEN
        PERFORM set_config('synchronous_commit', 'local', true);
    END IF;
END
$$;
COMMENT ON FUNCTION synkrone.set_durability IS
    'How durable the commit of this transaction is: on the disk of this server, or of a standby too.';

CREATE FUNCTION synkrone.lock_log(
    at bigint, known bigint, known_epoch text, sync boolean,
    OUT head bigint, OUT stored_at bigint, OUT epoch_number integer, OUT epoch text)
LANGUAGE plpgsql AS $$
DECLARE
    newest synkrone.epochs;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'appending needs the isolation level READ COMMITTED';
    END IF;
    PERFORM synkrone.set_durability(sync);
    PERFORM FROM synkrone.log_lock FOR UPDATE;
    -- The statement that waits sees what was there before it waited; those that follow see all.
    SELECT entries.log_offset, entries.stored_at INTO head, stored_at
    FROM synkrone.entries WHERE log_offset >= known ORDER BY log_offset DESC LIMIT 1;
    IF NOT FOUND THEN
        SELECT entries.log_offset, entries.stored_at INTO head, stored_at
        FROM synkrone.entries ORDER BY log_offset DESC LIMIT 1;
    END IF;
    SELECT greatest(head, floor), greatest(stored_at, floor_stored_at, coalesce(at, synkrone.microseconds()))
    INTO head, stored_at FROM synkrone.log;
    SELECT * INTO newest FROM synkrone.epochs ORDER BY number DESC LIMIT 1;
    epoch_number := newest.number;
    epoch := newest.epoch;
    IF newest.incarnation IS DISTINCT FROM synkrone.incarnation()
        OR (newest.epoch = known_epoch AND head < known)
        OR NOT EXISTS (SELECT FROM synkrone.epochs WHERE epochs.epoch = coalesce(known_epoch, newest.epoch))
    THEN
        epoch_number := coalesce(newest.number, 0) + 1;
        epoch := encode(uuid_send(gen_random_uuid()), 'hex');
        INSERT INTO synkrone.epochs
        VALUES (epoch_number, epoch, head + 1, stored_at, synkrone.incarnation());
    END IF;
END
$$;
COMMENT ON FUNCTION synkrone.lock_log IS
    'Nobody else appends until the transaction ends. The head is found at or behind the offset "known", which was there '
    'as "known_epoch" was the last epoch. Where the database is another one than that of the last epoch or than '
    'what is known of, or has less than it had, a new epoch begins. Without "at" the time is the database''s own.';

CREATE FUNCTION synkrone.append(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    new_ids text[], new_keys text[], new_digests text[], new_types text[], new_form smallint, new_expiries bigint[],
    new_rooms text[], new_payloads text[], new_sources text[], old_resume_ids text[], new_resume_ids text[],
    OUT first bigint, OUT epoch text, OUT is_refused boolean)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
BEGIN
    is_refused := false;
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    SELECT appends.first, epochs.epoch INTO first, epoch
    FROM synkrone.appends JOIN synkrone.epochs ON epochs.number = appends.epoch_number
    WHERE appends.name = append_name;
    IF FOUND THEN
        RETURN;
    END IF;
    -- Each by itself: joined, they could be looked for by reading the whole table.
    SELECT coalesce(bool_or(
        (SELECT true FROM synkrone.ids WHERE ids.id = given.id)
        OR (SELECT true FROM synkrone.ids WHERE ids.key = given.key)), false)
    INTO is_refused FROM unnest(new_ids, new_keys) AS given (id, key);
    IF NOT is_refused AND cardinality(new_sources) > 0 THEN
        SELECT bool_or(
            (SELECT checkpoints.resume_id FROM synkrone.checkpoints WHERE checkpoints.source = given.source)
            IS DISTINCT FROM given.resume_id)
        INTO is_refused FROM unnest(new_sources, old_resume_ids) AS given (source, resume_id);
    END IF;
    IF is_refused THEN
        RETURN;
    END IF;
    first := locked.head + 1;
    epoch := locked.epoch;
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
    VALUES (append_name, locked.stored_at, append.first, locked.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.append IS
    'Notifications and checkpoints, in the order given, from the offset "first" on. Said again, also by another '
    'connection, it answers as it did. Where an id or a key is taken, or a checkpoint is not the old one any more, '
    'nothing is stored, and it is refused.';

CREATE FUNCTION synkrone.append_changes(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    new_events text[], new_form smallint, new_rooms text[], new_payloads text[],
    readers text[], read_by integer[], new_read_at bigint[],
    OUT first bigint, OUT epoch text)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
BEGIN
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    first := locked.head + 1;
    epoch := locked.epoch;
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
    VALUES (append_name, locked.stored_at, append_changes.first, locked.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.append_changes IS
    'What users did to notifications, in the order given. By the entry with the number "read_by", from 0 on, one of the '
    '"readers" has read everything before it. Of the same name the second one fails.';
