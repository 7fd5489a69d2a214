-- Notifications that are revised. "about" is the offset of the one that an entry revises or takes back, and "revised" that
-- of the last entry that revises one; those before it have no "rooms" and no "payload" any more.
ALTER TABLE synkrone.entries ADD COLUMN expires_at bigint;
ALTER TABLE synkrone.contents ADD COLUMN revised bigint;

CREATE FUNCTION synkrone.erase_revision(erased bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM synkrone.placed
    USING synkrone.entries CROSS JOIN LATERAL string_to_table(entries.rooms, E'\n') AS named (room)
    WHERE entries.log_offset = erased AND placed.room = named.room AND placed.log_offset = erased;
    UPDATE synkrone.entries SET rooms = NULL, payload = NULL, expires_at = NULL WHERE log_offset = erased;
END
$$;
COMMENT ON FUNCTION synkrone.erase_revision IS
    'What revises a notification, and is not the last to do so: it leaves its rooms, and loses its content.';

CREATE FUNCTION synkrone.revise(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    revised_id text, revised_before bigint, new_type text, new_form smallint, new_payload text, new_expires_at bigint,
    OUT rooms text, OUT first bigint, OUT epoch text, OUT is_refused boolean)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
    published record;
BEGIN
    is_refused := false;
    -- Before the log: whoever trims may be removing the same, and is not to be waited for while others wait.
    PERFORM FROM synkrone.log FOR UPDATE;
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    SELECT entries.rooms, appends.first, epochs.epoch INTO rooms, first, epoch
    FROM synkrone.appends
    JOIN synkrone.epochs ON epochs.number = appends.epoch_number
    JOIN synkrone.entries ON entries.log_offset = appends.first
    WHERE appends.name = append_name;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT contents.log_offset, contents.rooms, contents.expires_at, contents.revised INTO published
    FROM synkrone.contents
    WHERE contents.log_offset = (SELECT ids.log_offset FROM synkrone.ids WHERE ids.id = revised_id);
    IF published.rooms IS NULL OR published.revised IS DISTINCT FROM revised_before THEN
        is_refused := true;
        RETURN;
    END IF;
    first := locked.head + 1;
    epoch := locked.epoch;
    PERFORM synkrone.erase_revision(published.revised);
    SELECT string_agg(named.room, E'\n') INTO rooms
    FROM string_to_table(published.rooms, E'\n') AS named (room)
    WHERE (
        SELECT state.deleted FROM synkrone.state
        WHERE named.room LIKE 'user:%' AND state.user_id = substr(named.room, 6)
            AND state.log_offset = published.log_offset) IS NOT TRUE;
    INSERT INTO synkrone.entries (log_offset, stored_at, event, form, rooms, payload, about, expires_at)
    VALUES (revise.first, locked.stored_at, 'notification.revised', new_form, revise.rooms, new_payload,
        published.log_offset, new_expires_at);
    INSERT INTO synkrone.placed (room, log_offset, item, expires_at)
    SELECT named.room, revise.first, false, new_expires_at
    FROM string_to_table(revise.rooms, E'\n') AS named (room);
    UPDATE synkrone.contents
    SET type = new_type, form = new_form, payload = new_payload, expires_at = new_expires_at, revised = revise.first
    WHERE contents.log_offset = published.log_offset;
    IF new_expires_at IS DISTINCT FROM published.expires_at THEN
        UPDATE synkrone.placed SET expires_at = new_expires_at
        FROM string_to_table(published.rooms, E'\n') AS named (room)
        WHERE placed.room = named.room AND placed.log_offset = published.log_offset;
    END IF;
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, revise.first, locked.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.revise IS
    'Give a notification other content, and say so in the entry "first", in its rooms but for those of users who have '
    'deleted it. Refused where it was revised since by another entry than "revised_before", or is not there any more. '
    'Said again, also by another connection, it answers as it did.';
