-- Notifications that users have snoozed: each is in no inbox before "snoozed_until". What has come back is told by the
-- entry at "raised", a notification.new that is "about" it: that has the content that the notification has.
ALTER TABLE synkrone.state ADD COLUMN snoozed_until bigint;
ALTER TABLE synkrone.state ADD COLUMN raised bigint;
CREATE INDEX state_snoozed ON synkrone.state (snoozed_until) WHERE snoozed_until IS NOT NULL;
CREATE INDEX state_raised ON synkrone.state (user_id, raised) WHERE raised IS NOT NULL;
CREATE INDEX entries_returns ON synkrone.entries (about) WHERE event = 'notification.new' AND about IS NOT NULL;

CREATE FUNCTION synkrone.follow_contents() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.payload IS NOT NULL THEN
        UPDATE synkrone.placed SET expires_at = NEW.expires_at
        FROM synkrone.entries
        WHERE entries.about = NEW.log_offset AND entries.event = 'notification.new'
            AND placed.room = entries.rooms AND placed.log_offset = entries.log_offset;
        UPDATE synkrone.entries SET payload = NEW.payload, form = NEW.form, expires_at = NEW.expires_at
        WHERE about = NEW.log_offset AND event = 'notification.new' AND payload IS NOT NULL;
    ELSE
        PERFORM synkrone.erase_revision(entries.log_offset) FROM synkrone.entries
        WHERE about = NEW.log_offset AND event = 'notification.new' AND payload IS NOT NULL;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION synkrone.follow_contents IS
    'The entries by which a notification is new once more have the content that it has.';
CREATE TRIGGER contents_followed AFTER UPDATE OF payload ON synkrone.contents
    FOR EACH ROW WHEN (OLD.payload IS DISTINCT FROM NEW.payload) EXECUTE FUNCTION synkrone.follow_contents();

CREATE FUNCTION synkrone.is_replaced(given_user text, given_offset bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM (SELECT key FROM synkrone.collapsing WHERE log_offset = given_offset LIMIT 1) AS its
        CROSS JOIN LATERAL (
            SELECT 'user:' || given_user AS room, 0::bigint AS start
            UNION ALL
            SELECT starts.room, starts.start_offset FROM synkrone.starts
            WHERE starts.user_id = given_user AND starts.room = 'everyone') AS mine
        JOIN synkrone.collapsing AS later ON later.key = its.key AND later.room = mine.room
            AND later.log_offset > greatest(given_offset, mine.start))
    -- In each of the roles, where it is for several, in which they have it.
    OR coalesce((
        SELECT bool_and(EXISTS (
            SELECT FROM synkrone.collapsing AS later
            WHERE later.key = its.key AND later.room = its.room AND later.log_offset > given_offset))
        FROM synkrone.collapsing AS its
        JOIN synkrone.starts ON starts.user_id = given_user AND starts.room = its.room
            AND starts.start_offset < given_offset
        WHERE its.log_offset = given_offset), false)
$$;
COMMENT ON FUNCTION synkrone.is_replaced IS
    'Whether a later one with its key has taken the place of a notification, in whatever role its user is.';

CREATE FUNCTION synkrone.bring_back(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    users text[], offsets bigint[])
RETURNS TABLE (
    new_offset bigint, new_epoch text, new_stored_at bigint, ends bigint, new_room text, new_payload text,
    new_about bigint)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
    there_users text[];
    there_contents synkrone.contents[];
    places tid[];
BEGIN
    -- Before the log: whoever trims may be removing the same, and is not to be waited for while others wait.
    PERFORM FROM synkrone.log FOR UPDATE;
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    IF EXISTS (SELECT FROM synkrone.appends WHERE name = append_name) THEN
        RETURN;
    END IF;
    -- Each is looked up by a subquery: joined, they could be by reading the whole table.
    SELECT array_agg(there.user_id ORDER BY there.number), array_agg(there.content ORDER BY there.number)
    INTO there_users, there_contents
    FROM (
        SELECT given.*, (
            SELECT contents FROM synkrone.contents
            WHERE contents.log_offset = given.log_offset AND payload IS NOT NULL
                AND (expires_at IS NULL OR expires_at > locked.stored_at)) AS content
        FROM unnest(users, offsets) WITH ORDINALITY AS given (user_id, log_offset, number)) AS there
    WHERE (there.content).log_offset IS NOT NULL AND NOT synkrone.is_replaced(there.user_id, there.log_offset);
    places := ARRAY(
        SELECT (
            SELECT state.ctid FROM synkrone.state
            WHERE state.user_id = there_users[ordinality] AND state.log_offset = content.log_offset)
        FROM unnest(there_contents) WITH ORDINALITY AS content);
    PERFORM synkrone.erase_revision(raised) FROM synkrone.state WHERE ctid = ANY (places) AND raised IS NOT NULL;
    INSERT INTO synkrone.entries (log_offset, stored_at, event, form, rooms, payload, about, expires_at)
    SELECT locked.head + ordinality, locked.stored_at, 'notification.new', content.form,
        'user:' || there_users[ordinality], content.payload, content.log_offset, content.expires_at
    FROM unnest(there_contents) WITH ORDINALITY AS content;
    INSERT INTO synkrone.placed (room, log_offset, item, expires_at)
    SELECT rooms, log_offset, false, expires_at FROM synkrone.entries WHERE log_offset > locked.head;
    UPDATE synkrone.state
    SET snoozed_until = NULL, read_at = NULL, seen_at = NULL, archived_at = NULL, read_by = NULL,
        raised = locked.head + array_position(places, ctid)
    WHERE ctid = ANY (places);
    -- The others are there no more.
    UPDATE synkrone.state SET snoozed_until = NULL
    WHERE ctid = ANY (ARRAY(
        SELECT (
            SELECT CASE WHEN snoozed_until IS NOT NULL THEN state.ctid END FROM synkrone.state
            WHERE state.user_id = given.user_id AND state.log_offset = given.log_offset)
        FROM unnest(users, offsets) AS given (user_id, log_offset)));
    IF there_users IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, locked.head + 1, locked.epoch_number);
    RETURN QUERY
    SELECT log_offset, locked.epoch, locked.stored_at, expires_at, rooms, payload, about
    FROM synkrone.entries WHERE log_offset > locked.head ORDER BY log_offset;
END
$$;
COMMENT ON FUNCTION synkrone.bring_back IS
    'What users have snoozed, whom nobody else changes meanwhile, is new once more, where it is there still. Said again, '
    'also by another connection, it does nothing.';
