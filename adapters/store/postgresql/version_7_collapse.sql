-- Where notifications with a collapse key are, also those that were taken back. Of one that is "superseded" in a room a
-- later one is there: where it is placed it expires at 0, and no list or count looks at it.
CREATE TABLE synkrone.collapsing (
    key text COLLATE "C" NOT NULL,
    room text COLLATE "C" NOT NULL,
    log_offset bigint NOT NULL,
    superseded boolean NOT NULL,
    PRIMARY KEY (key, room, log_offset));
CREATE INDEX collapsing_log_offset ON synkrone.collapsing (log_offset);
CREATE INDEX collapsing_room ON synkrone.collapsing (room, log_offset) INCLUDE (key) WHERE NOT superseded;
CREATE INDEX collapsing_rooms ON synkrone.collapsing (room);

CREATE FUNCTION synkrone.rooms_with_key(given_key text, first text, last text, most integer) RETURNS SETOF text
LANGUAGE sql STABLE AS $$
    -- From room to room: what there is in one of them, of any number, is not read.
    WITH RECURSIVE found (room) AS (
        (SELECT collapsing.room FROM synkrone.collapsing
            WHERE collapsing.key = given_key AND collapsing.room >= first AND collapsing.room < last
            ORDER BY collapsing.room LIMIT 1)
        UNION ALL
        SELECT (SELECT collapsing.room FROM synkrone.collapsing
            WHERE collapsing.key = given_key AND collapsing.room > found.room AND collapsing.room < last
            ORDER BY collapsing.room LIMIT 1)
        FROM found WHERE found.room IS NOT NULL)
    SELECT found.room FROM found WHERE found.room IS NOT NULL LIMIT most
$$;
COMMENT ON FUNCTION synkrone.rooms_with_key IS 'In order of their names, those from the first up to before the last.';

CREATE FUNCTION synkrone.last_with_key(
    given_key text, given_rooms text, after bigint, before bigint, most integer, OUT last json, OUT is_all boolean)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    own text[];
BEGIN
    is_all := true;
    IF EXISTS (SELECT FROM string_to_table(given_rooms, E'\n') AS named (room) WHERE NOT starts_with(room, 'user:')) THEN
        own := ARRAY(SELECT synkrone.rooms_with_key(given_key, 'user:', 'user;', most + 1));
        is_all := cardinality(own) <= most;
    ELSE
        own := string_to_array(given_rooms, E'\n');
    END IF;
    -- The name of every other room comes before those of users.
    SELECT coalesce(json_object_agg(each.room, found.log_offset), '{}') INTO last
    FROM (
        SELECT unnest(own) UNION SELECT synkrone.rooms_with_key(given_key, '', 'user:', most)) AS each (room)
    CROSS JOIN LATERAL (
        SELECT collapsing.log_offset FROM synkrone.collapsing
        WHERE collapsing.key = given_key AND collapsing.room = each.room
            AND collapsing.log_offset > after AND collapsing.log_offset < before
        ORDER BY collapsing.log_offset DESC LIMIT 1) AS found;
END
$$;
COMMENT ON FUNCTION synkrone.last_with_key IS
    'The last between two offsets of each room that whoever can reach something in the given ones may be in: with one '
    'that many users are in, also of the own rooms of "most" of those; and whether that is all of them.';

CREATE FUNCTION synkrone.hide_superseded(given_offset bigint) RETURNS void
LANGUAGE sql AS $$
    UPDATE synkrone.placed SET expires_at = 0
    FROM (
        SELECT collapsing.room FROM synkrone.collapsing
        WHERE collapsing.log_offset = given_offset AND collapsing.superseded OFFSET 0) AS lost
    WHERE placed.room = lost.room AND placed.log_offset = given_offset
$$;

CREATE FUNCTION synkrone.replaced(rooms text[], afters bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN ARRAY(
        SELECT one.log_offset
        FROM unnest(rooms, afters) AS mine (room, after)
        CROSS JOIN LATERAL (
            SELECT collapsing.key, collapsing.log_offset FROM synkrone.collapsing
            WHERE collapsing.room = mine.room AND collapsing.log_offset > mine.after AND NOT collapsing.superseded
            OFFSET 0) AS one
        WHERE EXISTS (
            SELECT FROM unnest(rooms, afters) AS other (room, after)
            CROSS JOIN LATERAL (
                SELECT FROM synkrone.collapsing
                WHERE collapsing.key = one.key AND collapsing.room = other.room
                    AND collapsing.log_offset > greatest(one.log_offset, other.after)
                LIMIT 1) AS later));
END
$$;
COMMENT ON FUNCTION synkrone.replaced IS
    'What lies behind an offset in some rooms, and has a later one with its key in another of them. What has one in the '
    'same room is superseded there. A function, as its plan is made once a connection.';

CREATE FUNCTION synkrone.collapse(
    given_key text, given_rooms text, given_offset bigint, most integer, OUT last json, OUT is_all boolean)
LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    found := synkrone.last_with_key(given_key, given_rooms, 0, given_offset, most);
    last := found.last;
    is_all := found.is_all;
    -- Where it is said again it is there.
    IF EXISTS (SELECT FROM synkrone.collapsing WHERE collapsing.log_offset = given_offset) THEN
        RETURN;
    END IF;
    INSERT INTO synkrone.collapsing (key, room, log_offset, superseded)
    SELECT given_key, named.room, given_offset, false FROM string_to_table(given_rooms, E'\n') AS named (room);
    WITH lost AS MATERIALIZED (
        SELECT named.room, (found.last ->> named.room)::bigint AS log_offset
        FROM string_to_table(given_rooms, E'\n') AS named (room) WHERE found.last -> named.room IS NOT NULL),
    marked AS (
        UPDATE synkrone.collapsing SET superseded = true FROM lost
        WHERE collapsing.key = given_key AND collapsing.room = lost.room AND collapsing.log_offset = lost.log_offset)
    UPDATE synkrone.placed SET expires_at = 0 FROM lost
    WHERE placed.room = lost.room AND placed.log_offset = lost.log_offset;
END
$$;
COMMENT ON FUNCTION synkrone.collapse IS
    'What was placed at an offset takes the place of those before it with the same key: the last of them by room.';

CREATE FUNCTION synkrone.collapse_due(given_payload text, given_rooms text, given_offset bigint, most integer)
RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    key text := substring(given_payload FROM
        '"collapse_key":"([A-Za-z0-9._:-]+)"(?:,"revised_at":"[^"]*")?,"read_at":null,"seen_at":null,"archived_at":null}$');
    found record;
BEGIN
    IF key IS NULL THEN
        RETURN NULL;
    END IF;
    found := synkrone.collapse(key, given_rooms, given_offset, most);
    RETURN json_build_array(key, found.last, found.is_all);
END
$$;
COMMENT ON FUNCTION synkrone.collapse_due IS
    'The same, of one whose payload says which key it has, if it has one: the key, and what is said of it.';

CREATE FUNCTION synkrone.append(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    new_ids text[], new_keys text[], new_digests text[], new_types text[], new_form smallint, new_expiries bigint[],
    new_rooms text[], new_payloads text[], new_sources text[], old_resume_ids text[], new_resume_ids text[],
    collapse_keys text[], most integer,
    OUT first bigint, OUT epoch text, OUT is_refused boolean, OUT earlier jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    one record;
    found record;
BEGIN
    SELECT appended.first, appended.epoch, appended.is_refused INTO first, epoch, is_refused
    FROM synkrone.append(
        append_name, answered, at, known, known_epoch, sync, new_ids, new_keys, new_digests, new_types, new_form,
        new_expiries, new_rooms, new_payloads, new_sources, old_resume_ids, new_resume_ids) AS appended;
    earlier := '[]';
    IF is_refused THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT append.first + given.number - 1 AS log_offset, given.key, given.rooms
        FROM unnest(collapse_keys, new_rooms) WITH ORDINALITY AS given (key, rooms, number)
        WHERE given.key IS NOT NULL ORDER BY given.number
    LOOP
        found := synkrone.collapse(one.key, one.rooms, one.log_offset, most);
        earlier := earlier || jsonb_build_array(jsonb_build_array(one.log_offset, found.last, found.is_all));
    END LOOP;
END
$$;
COMMENT ON FUNCTION synkrone.append(
    uuid, uuid[], bigint, bigint, text, boolean, text[], text[], text[], text[], smallint, bigint[], text[], text[],
    text[], text[], text[], text[], integer) IS
    'The same, of which some have a collapse key: with them come their offsets, the last before each by room, and '
    'whether those are all.';

CREATE FUNCTION synkrone.recall_last(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    recalled_id text, new_form smallint, new_payload text, most integer,
    OUT about bigint, OUT rooms text, OUT first bigint, OUT epoch text, OUT payload text)
LANGUAGE plpgsql AS $$
DECLARE
    its record;
    later record;
BEGIN
    -- In the order in which it is done by what is called below.
    PERFORM FROM synkrone.log FOR UPDATE;
    PERFORM synkrone.lock_log(at, known, known_epoch, sync);
    PERFORM synkrone.leave_out_erased(recalled_id);
    SELECT contents.log_offset, contents.rooms,
        (SELECT key FROM synkrone.collapsing WHERE collapsing.log_offset = contents.log_offset LIMIT 1) AS key
    INTO its FROM synkrone.contents
    WHERE contents.log_offset = (SELECT ids.log_offset FROM synkrone.ids WHERE ids.id = recalled_id);
    IF its.key IS NOT NULL AND its.rooms IS NOT NULL THEN
        later := synkrone.last_with_key(its.key, its.rooms, its.log_offset, 9223372036854775807, most);
        IF later.is_all AND later.last::text = '{}' THEN
            new_payload := left(new_payload, -1) || ',"collapse_key":"' || its.key || '"}';
        END IF;
    END IF;
    SELECT recalled.about, recalled.rooms, recalled.first, recalled.epoch INTO about, rooms, first, epoch
    FROM synkrone.recall(
        append_name, answered, at, known, known_epoch, sync, recalled_id, new_form, new_payload) AS recalled;
    payload := (SELECT entries.payload FROM synkrone.entries WHERE entries.log_offset = recall_last.first);
END
$$;
COMMENT ON FUNCTION synkrone.recall_last IS
    'The same as recall, and the payload says the collapse key where nobody whom it was for has a later one with that.';
