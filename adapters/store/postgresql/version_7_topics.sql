-- Who is in which topic. A row is a stay of a user: what is placed in the room beyond "after_offset" is for them, up to
-- "upto_offset", which is NULL while it is not over.
CREATE TABLE synkrone.memberships (
    user_id text COLLATE "C" NOT NULL,
    room text COLLATE "C" NOT NULL,
    after_offset bigint NOT NULL,
    upto_offset bigint,
    PRIMARY KEY (user_id, room, after_offset));
CREATE INDEX memberships_room ON synkrone.memberships (room, after_offset, user_id);

-- Whether anybody ever came to a topic, or anything was for who is in all of some groups. It is read with the head:
-- where there are none, nobody's stays are looked for.
ALTER TABLE synkrone.log ADD COLUMN has_groups boolean NOT NULL DEFAULT false;

CREATE FUNCTION synkrone.note_groups() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE synkrone.log SET has_groups = true WHERE NOT has_groups;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION synkrone.note_groups IS 'There are groups from now on.';

CREATE TRIGGER groups_noted AFTER INSERT ON synkrone.memberships EXECUTE FUNCTION synkrone.note_groups();

CREATE FUNCTION synkrone.change_members(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    changed_topic text, added text[], removed text[], topics_most integer, stays_most integer,
    new_event text, new_form smallint,
    OUT first bigint, OUT epoch text, OUT payload text, OUT refused text)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
    changed_room text := 'topic:' || changed_topic;
    came text[];
    gone text[];
BEGIN
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    SELECT appends.first, epochs.epoch, entries.payload INTO first, epoch, payload
    FROM synkrone.appends
    JOIN synkrone.epochs ON epochs.number = appends.epoch_number
    JOIN synkrone.entries ON entries.log_offset = appends.first
    WHERE appends.name = append_name;
    IF FOUND THEN
        RETURN;
    END IF;
    -- Each by itself: joined, they could be looked for by reading the whole table for each.
    came := ARRAY(
        SELECT given.user_id FROM unnest(added) WITH ORDINALITY AS given (user_id, number)
        WHERE (
            SELECT true FROM synkrone.memberships AS stay
            WHERE stay.user_id = given.user_id AND stay.room = changed_room AND stay.upto_offset IS NULL) IS NULL
        ORDER BY given.number);
    gone := ARRAY(
        SELECT given.user_id FROM unnest(removed) WITH ORDINALITY AS given (user_id, number)
        WHERE (
            SELECT true FROM synkrone.memberships AS stay
            WHERE stay.user_id = given.user_id AND stay.room = changed_room AND stay.upto_offset IS NULL)
        ORDER BY given.number);
    first := locked.head;
    epoch := locked.epoch;
    IF cardinality(came) + cardinality(gone) = 0 THEN
        RETURN;
    END IF;
    SELECT given.user_id INTO refused
    FROM unnest(came) WITH ORDINALITY AS given (user_id, number)
    WHERE topics_most <= (
        SELECT count(*) FROM synkrone.memberships AS stay
        WHERE stay.user_id = given.user_id AND stay.upto_offset IS NULL)
    ORDER BY given.number LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;
    first := locked.head + 1;
    payload := json_build_object('topic', changed_topic, 'joined', came, 'left', gone)::text;
    INSERT INTO synkrone.entries (log_offset, stored_at, event, form, payload)
    VALUES (change_members.first, locked.stored_at, new_event, new_form, change_members.payload);
    INSERT INTO synkrone.memberships (user_id, room, after_offset)
    SELECT given.user_id, changed_room, change_members.first FROM unnest(came) AS given (user_id);
    UPDATE synkrone.memberships AS stay SET upto_offset = change_members.first
    FROM unnest(gone) AS given (user_id)
    WHERE stay.user_id = given.user_id AND stay.room = changed_room AND stay.upto_offset IS NULL;
    -- Of a user with too many that are over the oldest go.
    DELETE FROM synkrone.memberships AS stay
    USING unnest(gone) AS given (user_id)
    CROSS JOIN LATERAL (
        SELECT earlier.upto_offset FROM synkrone.memberships AS earlier
        WHERE earlier.user_id = given.user_id AND earlier.upto_offset IS NOT NULL
        ORDER BY earlier.upto_offset DESC LIMIT 1 OFFSET stays_most) AS last_to_go
    WHERE stay.user_id = given.user_id AND stay.upto_offset <= last_to_go.upto_offset;
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, change_members.first, locked.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.change_members IS
    'Have users in a topic, and others not, and say so in the entry "first": whom it changes something for. Without a '
    '"payload" it changes nothing for anybody; where somebody would be in too many topics, "refused" is the first of '
    'them. Said again, also by another connection, it answers as it did.';

CREATE FUNCTION synkrone.group_fault(given json) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    members integer;
    kind text;
BEGIN
    IF json_typeof(given) = 'object' THEN
        SELECT count(*), min(key) INTO members, kind FROM json_object_keys(given) AS member (key);
    END IF;
    IF members IS DISTINCT FROM 1 OR kind NOT IN ('role', 'topic') THEN
        RETURN ': must be exactly one of {role}, {topic}';
    END IF;
    RETURN '.' || kind || ': '
        || synkrone.name_fault(CASE json_typeof(given -> kind) WHEN 'string' THEN given ->> kind END);
END
$$;
COMMENT ON FUNCTION synkrone.group_fault IS 'What is wrong with one of the groups that something is to be published for.';

CREATE OR REPLACE FUNCTION synkrone.recipient_fault(recipient json) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    members integer;
    kind text;
    whom json;
    fault text;
BEGIN
    IF recipient IS NULL THEN
        RETURN 'recipient: is required';
    ELSIF recipient::text ~ '(^|[^\\])(\\\\)*\\u0000' THEN
        -- No text of PostgreSQL can be made of it.
        RETURN 'recipient: holds U+0000, which is not allowed';
    ELSIF json_typeof(recipient) = 'object' THEN
        SELECT count(*), min(key) INTO members, kind FROM json_object_keys(recipient) AS member (key);
    END IF;
    IF members IS DISTINCT FROM 1 OR kind NOT IN ('user', 'users', 'role', 'topic', 'any_of', 'all_of', 'everyone') THEN
        RETURN 'recipient: must be exactly one of {user}, {users}, {role}, {topic}, {any_of}, {all_of}, '
            '{everyone: true}';
    END IF;
    whom := recipient -> kind;
    IF kind = 'everyone' THEN
        RETURN CASE WHEN whom::text <> 'true' THEN 'recipient.everyone: must be true' END;
    ELSIF kind NOT IN ('users', 'any_of', 'all_of') THEN
        RETURN 'recipient.' || kind || ': '
            || synkrone.name_fault(CASE json_typeof(whom) WHEN 'string' THEN whom #>> '{}' END);
    ELSIF kind IN ('any_of', 'all_of') THEN
        IF json_typeof(whom) <> 'array' THEN
            RETURN 'recipient.' || kind || ': must be a list of {role} and {topic}';
        ELSIF json_array_length(whom) NOT BETWEEN 1 AND 100 THEN
            RETURN 'recipient.' || kind || ': must name 1 to 100 roles and topics';
        END IF;
        SELECT 'recipient.' || kind || '[' || given.number - 1 || ']' || found.fault INTO fault
        FROM json_array_elements(whom) WITH ORDINALITY AS given (one, number),
            synkrone.group_fault(given.one) AS found (fault)
        WHERE found.fault IS NOT NULL ORDER BY given.number LIMIT 1;
        -- The name of their room, see version_7_topics_all_of.sql.
        IF fault IS NULL AND kind = 'all_of' AND 2000 < (
            SELECT 3 + sum(octet_length(named.whole)) + count(*)
            FROM (
                SELECT DISTINCT member.key || ':' || member.value
                FROM json_array_elements(whom) AS given (one), json_each_text(given.one) AS member) AS named (whole))
        THEN
            RETURN 'recipient.all_of: must have at most 2000 bytes in all, of which each takes 7 beside its name';
        END IF;
        RETURN fault;
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
