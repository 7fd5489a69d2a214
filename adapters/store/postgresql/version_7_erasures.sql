-- Users who are erased. "user_id" is named only until nothing of them is left, and "who" is a seal of it. They were erased
-- as of "log_offset". What waits for its time may name them still up to the number "waits_upto"; "waits_again" says that
-- something is to wait for them since. Who came to topics and left them was looked through up to the entry
-- "members_upto".
CREATE TABLE synkrone.erasures (
    id text COLLATE "C" PRIMARY KEY,
    who bytea NOT NULL,
    user_id text COLLATE "C",
    log_offset bigint NOT NULL,
    begun_at bigint NOT NULL,
    done_at bigint,
    waits_upto bigint NOT NULL DEFAULT 0,
    waits_again boolean NOT NULL DEFAULT false,
    members_upto bigint NOT NULL DEFAULT 0);
CREATE INDEX erasures_who ON synkrone.erasures (who, log_offset);
CREATE INDEX erasures_running ON synkrone.erasures (log_offset) WHERE done_at IS NULL;
CREATE INDEX erasures_done ON synkrone.erasures (begun_at) WHERE done_at IS NOT NULL;

-- What was placed in the room of somebody who is being erased, and still has their name; below 0 the number of what waits
-- for its time.
CREATE TABLE synkrone.erasing (
    erasure text COLLATE "C" NOT NULL,
    log_offset bigint NOT NULL,
    item boolean NOT NULL,
    PRIMARY KEY (erasure, log_offset));

-- Ids and keys of what was for somebody who was erased, each as its seal, and the seal of the content's digest.
CREATE TABLE synkrone.tombstones (
    name bytea PRIMARY KEY,
    log_offset bigint NOT NULL,
    digest bytea);
CREATE INDEX tombstones_log_offset ON synkrone.tombstones (log_offset);

CREATE INDEX contents_recalled ON synkrone.contents (log_offset) WHERE recalled IS NOT NULL;
CREATE INDEX entries_controls ON synkrone.entries (log_offset) WHERE event LIKE 'user.%';
CREATE INDEX entries_members ON synkrone.entries (log_offset) WHERE event = 'topic.members';
CREATE INDEX entries_about ON synkrone.entries (about) WHERE about IS NOT NULL;

-- A single expression, which becomes part of a statement: of many names none costs a call.
CREATE FUNCTION synkrone.sealed(secret bytea, name bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(sha256(coalesce(secret, ''::bytea) || sha256(coalesce(secret, ''::bytea) || name)), 1, 16)
$$;
COMMENT ON FUNCTION synkrone.sealed IS 'The same as "seal", with the secret of the log.';

CREATE FUNCTION synkrone.seal(name bytea) RETURNS bytea
LANGUAGE sql STABLE AS $$
    SELECT synkrone.sealed(log.secret, seal.name) FROM synkrone.log
$$;
COMMENT ON FUNCTION synkrone.seal IS
    'By which a name is known again that is not kept. Whoever has the secret of the log can try whether it is one that '
    'they guess.';

CREATE FUNCTION synkrone.without(names text, room text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT nullif(array_to_string(array_remove(string_to_array(names, E'\n'), room), E'\n'), '')
$$;

CREATE FUNCTION synkrone.are_sealed(new_ids text[], new_keys text[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM unnest(new_ids, new_keys) AS given (id, key)
        WHERE (SELECT true FROM synkrone.tombstones WHERE name = synkrone.seal(convert_to('id:' || given.id, 'UTF8')))
            OR (SELECT true FROM synkrone.tombstones
                WHERE name = synkrone.seal(convert_to('key:' || given.key, 'UTF8'))));
END
$$;
COMMENT ON FUNCTION synkrone.are_sealed IS
    'Whether any was published before, for somebody who was erased. To be called where there are tombstones at all.';

CREATE OR REPLACE FUNCTION synkrone.append(
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
    -- Behind those, as an id that is not there any more is sealed by then.
    IF NOT is_refused AND EXISTS (SELECT FROM synkrone.tombstones) THEN
        is_refused := synkrone.are_sealed(new_ids, new_keys);
    END IF;
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

CREATE FUNCTION synkrone.has_come(some_user text, since bigint) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text := 'user:' || some_user;
BEGIN
    RETURN EXISTS (SELECT FROM synkrone.placed WHERE room = own)
        OR EXISTS (SELECT FROM synkrone.starts WHERE user_id = some_user)
        OR EXISTS (SELECT FROM synkrone.marks WHERE user_id = some_user)
        OR EXISTS (SELECT FROM synkrone.memberships WHERE user_id = some_user)
        OR EXISTS (SELECT FROM synkrone.watermarks WHERE user_id = some_user)
        OR EXISTS (SELECT FROM synkrone.state WHERE user_id = some_user)
        OR EXISTS (SELECT FROM synkrone.trimmed WHERE room = own)
        OR EXISTS (SELECT FROM synkrone.ledger_connections WHERE user_id = some_user)
        OR EXISTS (SELECT FROM synkrone.ledger_receipts WHERE user_id = some_user)
        OR EXISTS (SELECT FROM synkrone.erasures WHERE user_id = some_user AND log_offset = since AND waits_again)
        OR EXISTS (
            SELECT FROM synkrone.contents
            WHERE recalled IS NOT NULL AND log_offset > since AND own = ANY (string_to_array(recalled, E'\n')))
        OR EXISTS (
            SELECT FROM synkrone.entries
            WHERE event LIKE 'user.%' AND log_offset > since AND payload::json ->> 'user' = some_user);
END
$$;
COMMENT ON FUNCTION synkrone.has_come IS
    'Whether anything is stored of a user who was erased as of the offset "since", that came later.';

CREATE FUNCTION synkrone.erase_user(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    erased_user text, new_erasure text, new_form smallint, new_event text, new_payload text, new_begun_at bigint,
    OUT erasure text, OUT begun_at bigint, OUT first bigint, OUT epoch text)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
    running synkrone.erasures;
    own text := 'user:' || erased_user;
    is_same boolean;
BEGIN
    -- Before the log: whoever trims or amends may be at the same, and is not to be waited for while others wait.
    PERFORM FROM synkrone.log FOR UPDATE;
    SELECT appends.first, epochs.epoch INTO first, epoch
    FROM synkrone.appends JOIN synkrone.epochs ON epochs.number = appends.epoch_number
    WHERE appends.name = append_name;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO running FROM synkrone.erasures
    WHERE user_id = erased_user AND done_at IS NULL ORDER BY log_offset DESC LIMIT 1;
    is_same := running.id IS NOT NULL AND NOT synkrone.has_come(erased_user, running.log_offset);
    IF NOT is_same THEN
        -- Nearly all of it before the log is locked.
        WITH gone AS (DELETE FROM synkrone.placed WHERE room = own RETURNING log_offset, item)
        INSERT INTO synkrone.erasing SELECT new_erasure, log_offset, item FROM gone ON CONFLICT DO NOTHING;
        DELETE FROM synkrone.marks WHERE user_id = erased_user;
    END IF;
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    -- What came before the log was locked is to be erased as well.
    IF is_same AND NOT synkrone.has_come(erased_user, running.log_offset) THEN
        erasure := running.id;
        begun_at := running.begun_at;
        RETURN;
    END IF;
    erasure := new_erasure;
    begun_at := new_begun_at;
    first := locked.head + 1;
    epoch := locked.epoch;
    WITH gone AS (DELETE FROM synkrone.placed WHERE room = own RETURNING log_offset, item)
    INSERT INTO synkrone.erasing SELECT new_erasure, log_offset, item FROM gone ON CONFLICT DO NOTHING;
    DELETE FROM synkrone.marks WHERE user_id = erased_user;
    DELETE FROM synkrone.starts WHERE user_id = erased_user;
    DELETE FROM synkrone.memberships WHERE user_id = erased_user;
    DELETE FROM synkrone.watermarks WHERE user_id = erased_user;
    DELETE FROM synkrone.state WHERE user_id = erased_user;
    DELETE FROM synkrone.trimmed WHERE room = own;
    DELETE FROM synkrone.ledger_connections WHERE user_id = erased_user;
    DELETE FROM synkrone.ledger_receipts WHERE user_id = erased_user;
    UPDATE synkrone.restrictions SET reason = NULL WHERE user_id = erased_user;
    -- Whoever appends has the numbers of what waits: what is to wait from now on has a higher one, and is theirs again.
    INSERT INTO synkrone.erasures (id, who, user_id, log_offset, begun_at, waits_upto)
    VALUES (
        new_erasure, synkrone.seal(convert_to('user:' || erased_user, 'UTF8')), erased_user, first, new_begun_at,
        (SELECT coalesce(max(number), 0) FROM synkrone.scheduled));
    INSERT INTO synkrone.entries (log_offset, stored_at, event, form, payload)
    VALUES (first, locked.stored_at, new_event, new_form, new_payload);
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, erase_user.first, locked.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.erase_user IS
    'Begin to erase a user: nobody finds any more what is theirs, and the entry "first" tells servers. Without "first" '
    'they are being erased already, and have nothing that came since. Said again, also by another connection, it answers '
    'as it did.';

CREATE FUNCTION synkrone.erased_at(erased_user text) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM synkrone.erasures) THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT max(log_offset) FROM synkrone.erasures
        WHERE who = synkrone.seal(convert_to('user:' || erased_user, 'UTF8')));
END
$$;
COMMENT ON FUNCTION synkrone.erased_at IS 'As of which offset a user was erased; NULL for one who never was.';

CREATE FUNCTION synkrone.erased_of(users text[], starts bigint[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM synkrone.erasures) THEN
        RETURN ARRAY[]::text[];
    END IF;
    RETURN ARRAY(
        SELECT given.user_id FROM synkrone.log CROSS JOIN unnest(users, starts) AS given (user_id, start)
        WHERE given.start < (
            SELECT max(log_offset) FROM synkrone.erasures
            WHERE who = synkrone.sealed(secret, convert_to('user:' || given.user_id, 'UTF8'))) - 1);
END
$$;
COMMENT ON FUNCTION synkrone.erased_of IS
    'Those of the users who were erased since they were registered, when their own rooms began for them at "starts".';

CREATE FUNCTION synkrone.first_to_erase(running text, most integer, most_bytes bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN ARRAY(
        SELECT log_offset FROM (
            SELECT log_offset, row_number() OVER following AS number, sum(names) OVER following AS name_bytes
            FROM (
                SELECT log_offset, coalesce(CASE
                    WHEN log_offset < 0 THEN (
                        SELECT octet_length(rooms) FROM synkrone.scheduled WHERE scheduled.number = -oldest.log_offset)
                    WHEN item THEN (
                        SELECT octet_length(coalesce(rooms, recalled)) FROM synkrone.contents
                        WHERE contents.log_offset = oldest.log_offset)
                    ELSE (
                        SELECT octet_length(rooms) FROM synkrone.entries
                        WHERE entries.log_offset = oldest.log_offset)
                    END, 0) AS names
                FROM (
                    SELECT erasing.log_offset, item FROM synkrone.erasing WHERE erasure = running
                    ORDER BY erasing.log_offset LIMIT most) AS oldest) AS sized
            WINDOW following AS (ORDER BY log_offset ROWS UNBOUNDED PRECEDING)) AS chosen
        WHERE number = 1 OR name_bytes <= most_bytes);
END
$$;
COMMENT ON FUNCTION synkrone.first_to_erase IS
    'Of what still has the name of somebody the first that have no more bytes of names than that, at least one.';

CREATE FUNCTION synkrone.erase_placed(running text, own text, most integer, most_bytes bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    gone_items bigint[];
    gone_events bigint[];
    sealed bigint[];
    first bigint[] := synkrone.first_to_erase(running, most, most_bytes);
BEGIN
    WITH gone AS (
        DELETE FROM synkrone.erasing WHERE erasure = running AND log_offset = ANY (first) RETURNING log_offset, item)
    SELECT array_agg(log_offset) FILTER (WHERE item), array_agg(log_offset) FILTER (WHERE NOT item)
    INTO gone_items, gone_events FROM gone;
    UPDATE synkrone.entries SET rooms = synkrone.without(rooms, own) WHERE log_offset = ANY (gone_events);
    UPDATE synkrone.entries SET payload = NULL, expires_at = NULL
    WHERE log_offset = ANY (gone_events) AND rooms IS NULL;
    UPDATE synkrone.contents SET rooms = synkrone.without(rooms, own), recalled = synkrone.without(recalled, own)
    WHERE log_offset = ANY (gone_items);
    -- All who are left may have deleted it.
    UPDATE synkrone.state SET settled = false WHERE settled AND log_offset = ANY (gone_items);
    SELECT array_agg(log_offset) INTO sealed FROM synkrone.contents
    WHERE log_offset = ANY (gone_items) AND rooms IS NULL AND recalled IS NULL;
    PERFORM synkrone.seal_contents(sealed);
    RETURN gone_items IS NOT NULL OR gone_events IS NOT NULL;
END
$$;
COMMENT ON FUNCTION synkrone.erase_placed IS
    'Of what was placed in a room some loses its name, and where there is no other its content; whether there was any.';

CREATE FUNCTION synkrone.seal_contents(sealed bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    names text[] := ARRAY(
        SELECT id FROM synkrone.contents WHERE log_offset = ANY (sealed)
        UNION ALL
        SELECT id FROM synkrone.scheduled WHERE number = ANY (ARRAY(SELECT -given FROM unnest(sealed) AS given)));
BEGIN
    -- What revises one may be in no room, where whoever it is for has deleted it.
    UPDATE synkrone.entries SET rooms = NULL, payload = NULL, expires_at = NULL
    WHERE about = ANY (sealed) AND event = 'notification.revised';
    UPDATE synkrone.contents SET payload = NULL, rooms = NULL, recalled = NULL, type = '', id = E'\x01' || log_offset
    WHERE log_offset = ANY (sealed);
    WITH gone AS (DELETE FROM synkrone.ids WHERE id = ANY (names) AND log_offset = ANY (sealed) RETURNING *)
    INSERT INTO synkrone.tombstones (name, log_offset, digest)
    SELECT synkrone.seal(convert_to('id:' || id, 'UTF8')), log_offset, synkrone.seal(digest) FROM gone
    UNION ALL
    SELECT synkrone.seal(convert_to('key:' || key, 'UTF8')), log_offset, synkrone.seal(digest)
    FROM gone WHERE key IS NOT NULL
    ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION synkrone.seal_contents IS 'What is left of notifications is by what a retry is known.';

CREATE FUNCTION synkrone.erase_recalled(own text, upto bigint, most integer, most_bytes bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    found bigint[];
    sealed bigint[];
BEGIN
    -- Nearly all of them are for others: of those no name is looked at by itself.
    SELECT array_agg(log_offset) INTO found FROM (
        SELECT log_offset, row_number() OVER following AS number, sum(names) OVER following AS name_bytes
        FROM (
            SELECT log_offset, octet_length(recalled) AS names FROM synkrone.contents
            WHERE recalled IS NOT NULL AND log_offset < upto
                AND CASE WHEN strpos(recalled, own) > 0 THEN own = ANY (string_to_array(recalled, E'\n')) END
            LIMIT most) AS found_first
        WINDOW following AS (ORDER BY log_offset ROWS UNBOUNDED PRECEDING)) AS chosen
    WHERE number = 1 OR name_bytes <= most_bytes;
    UPDATE synkrone.contents SET recalled = synkrone.without(recalled, own) WHERE log_offset = ANY (found);
    SELECT array_agg(log_offset) INTO sealed FROM synkrone.contents
    WHERE log_offset = ANY (found) AND recalled IS NULL;
    PERFORM synkrone.seal_contents(sealed);
    RETURN found IS NOT NULL;
END
$$;
COMMENT ON FUNCTION synkrone.erase_recalled IS 'The same of what was taken back, which is placed nowhere any more.';

CREATE FUNCTION synkrone.erase_member(running text, erased_user text, upto bigint, most integer, most_bytes bigint)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    looked_at bigint[];
BEGIN
    -- The first that fit, at least one.
    SELECT array_agg(log_offset ORDER BY log_offset) INTO looked_at FROM (
        SELECT log_offset, row_number() OVER following AS number, sum(size) OVER following AS bytes
        FROM (
            SELECT log_offset, octet_length(payload) AS size FROM synkrone.entries
            WHERE event = 'topic.members' AND log_offset <= upto
                AND log_offset > (SELECT members_upto FROM synkrone.erasures WHERE id = running)
            ORDER BY log_offset LIMIT most) AS oldest
        WINDOW following AS (ORDER BY log_offset ROWS UNBOUNDED PRECEDING)) AS sized
    WHERE number = 1 OR bytes <= most_bytes;
    IF looked_at IS NULL THEN
        RETURN false;
    END IF;
    UPDATE synkrone.entries SET payload = json_build_object(
        'topic', payload::jsonb -> 'topic', 'joined', (payload::jsonb -> 'joined') - erased_user,
        'left', (payload::jsonb -> 'left') - erased_user)::text
    WHERE log_offset = ANY (looked_at)
        AND (payload::jsonb -> 'joined' ? erased_user OR payload::jsonb -> 'left' ? erased_user);
    UPDATE synkrone.erasures SET members_upto = looked_at[cardinality(looked_at)] WHERE id = running;
    RETURN true;
END
$$;
COMMENT ON FUNCTION synkrone.erase_member IS
    'Some of what says who came to topics and left them names a user no more; whether there may be more of it.';

CREATE FUNCTION synkrone.withdraw(own text, numbers bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    found bigint[] := ARRAY(
        SELECT number FROM synkrone.scheduled
        WHERE number = ANY (numbers) AND own = ANY (string_to_array(rooms, E'\n')));
    gone bigint[];
BEGIN
    UPDATE synkrone.scheduled SET rooms = synkrone.without(rooms, own) WHERE number = ANY (found);
    SELECT array_agg(number) INTO gone FROM synkrone.scheduled WHERE number = ANY (found) AND rooms IS NULL;
    PERFORM synkrone.seal_contents(ARRAY(SELECT -number FROM unnest(gone) AS given (number)));
    -- Last, as it has to itself how many wait.
    UPDATE synkrone.scheduled
    SET ended = coalesce(ended, (
            SELECT begun_at FROM synkrone.erasures WHERE 'user:' || erasures.user_id = own ORDER BY log_offset LIMIT 1)),
        payload = NULL, type = '', id = E'\x01' || number, key = NULL, digest = NULL
    WHERE number = ANY (gone);
END
$$;
COMMENT ON FUNCTION synkrone.withdraw IS
    'What waits under numbers is not for a user any more, who is being erased; where there is no other it is cancelled.';

CREATE FUNCTION synkrone.erase_scheduled(running text, own text, most integer, most_bytes bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    upto bigint := (SELECT waits_upto FROM synkrone.erasures WHERE id = running);
    numbers bigint[];
BEGIN
    IF upto = 0 THEN
        RETURN false;
    END IF;
    WITH gone AS (
        DELETE FROM synkrone.erasing
        WHERE erasure = running AND log_offset < 0
            AND log_offset = ANY (synkrone.first_to_erase(running, most, most_bytes))
        RETURNING log_offset)
    SELECT array_agg(-log_offset) INTO numbers FROM gone;
    IF numbers IS NULL THEN
        -- Looked for many at once, by the index of the rooms alone: it has those that were dealt with until it is vacuumed.
        INSERT INTO synkrone.erasing (erasure, log_offset, item)
        SELECT running, -number, true FROM synkrone.scheduled
        WHERE string_to_array(rooms, E'\n') @> ARRAY[own] AND number + 0 <= upto LIMIT 20 * most;
        IF NOT FOUND THEN
            UPDATE synkrone.erasures SET waits_upto = 0 WHERE id = running;
        END IF;
        RETURN true;
    END IF;
    -- In the order in which whoever delivers them has them.
    PERFORM FROM synkrone.scheduled WHERE number = ANY (numbers) ORDER BY number FOR UPDATE;
    PERFORM synkrone.withdraw(own, numbers);
    RETURN true;
END
$$;
COMMENT ON FUNCTION synkrone.erase_scheduled IS
    'Some of what waited as an erasure was begun is for the user no more; whether there may be more of it.';

CREATE FUNCTION synkrone.withdraw_due(numbers bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    names text[];
BEGIN
    IF NOT EXISTS (
        SELECT FROM synkrone.erasures WHERE done_at IS NULL AND user_id IS NOT NULL AND waits_upto > 0)
    THEN
        RETURN;
    END IF;
    -- A thousand may be to be erased, of whom hardly any is named. Each is looked up in a hash: joined, each could be
    -- compared with all.
    names := ARRAY(
        SELECT named.room
        FROM synkrone.scheduled CROSS JOIN string_to_table(scheduled.rooms, E'\n') AS named (room)
        WHERE scheduled.number = ANY (numbers));
    PERFORM synkrone.withdraw(
        'user:' || user_id, ARRAY(SELECT number FROM unnest(numbers) AS given (number) WHERE number <= waits_upto))
    FROM synkrone.erasures
    WHERE done_at IS NULL AND user_id IS NOT NULL AND waits_upto > 0
        AND CASE WHEN true THEN 'user:' || user_id IN (SELECT unnest(names)) END;
END
$$;
COMMENT ON FUNCTION synkrone.withdraw_due IS
    'What is due under numbers, and waited as users were erased whose turn has not come yet, is not for these any more.';

CREATE FUNCTION synkrone.waits_for(rooms text, waits_under bigint) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text;
    left_over text := rooms;
BEGIN
    FOR own IN
        SELECT 'user:' || user_id FROM synkrone.erasures
        WHERE done_at IS NULL AND user_id IS NOT NULL AND waits_upto >= waits_under
            AND strpos(rooms, 'user:' || user_id) > 0
    LOOP
        left_over := synkrone.without(left_over, own);
    END LOOP;
    RETURN left_over;
END
$$;
COMMENT ON FUNCTION synkrone.waits_for IS
    'The rooms of what waits under a number, without those of users who are being erased; NULL where no other is left.';

CREATE FUNCTION synkrone.leave_out_erased(amended_id text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT contents.log_offset, 'user:' || erasures.user_id AS own
        FROM synkrone.erasures JOIN synkrone.contents ON contents.log_offset < erasures.log_offset
        WHERE erasures.user_id IS NOT NULL
            AND contents.log_offset = (SELECT ids.log_offset FROM synkrone.ids WHERE ids.id = amended_id)
            AND CASE WHEN strpos(contents.rooms, 'user:' || erasures.user_id) > 0
                THEN 'user:' || erasures.user_id = ANY (string_to_array(contents.rooms, E'\n')) END
    LOOP
        UPDATE synkrone.contents SET rooms = synkrone.without(rooms, found.own)
        WHERE contents.log_offset = found.log_offset;
        PERFORM synkrone.seal_contents(array_agg(log_offset)) FROM synkrone.contents
        WHERE log_offset = found.log_offset AND rooms IS NULL AND recalled IS NULL;
    END LOOP;
END
$$;
COMMENT ON FUNCTION synkrone.leave_out_erased IS
    'A notification that is to be changed is not for users any more who are being erased. To be called where the log is '
    'locked.';
