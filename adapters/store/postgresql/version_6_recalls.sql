-- Notifications that are taken back. "about" is the offset of the one that an entry takes back; "recalled" are the rooms
-- in which one was placed that was, whose "rooms" and "payload" are NULL.
ALTER TABLE synkrone.entries ADD COLUMN about bigint;
ALTER TABLE synkrone.contents ADD COLUMN recalled text COLLATE "C";

CREATE FUNCTION synkrone.recall(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    recalled_id text, new_form smallint, new_payload text,
    OUT about bigint, OUT rooms text, OUT first bigint, OUT epoch text)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
    revision bigint;
BEGIN
    -- Before the log: whoever trims may be removing the same, and is not to be waited for while others wait.
    PERFORM FROM synkrone.log FOR UPDATE;
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    SELECT entries.about, entries.rooms, appends.first, epochs.epoch INTO about, rooms, first, epoch
    FROM synkrone.appends
    JOIN synkrone.epochs ON epochs.number = appends.epoch_number
    JOIN synkrone.entries ON entries.log_offset = appends.first
    WHERE appends.name = append_name;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT contents.log_offset, contents.rooms, contents.revised INTO about, rooms, revision
    FROM synkrone.contents
    WHERE contents.log_offset = (SELECT ids.log_offset FROM synkrone.ids WHERE ids.id = recalled_id);
    IF rooms IS NULL THEN
        RETURN;
    END IF;
    first := locked.head + 1;
    epoch := locked.epoch;
    PERFORM synkrone.erase_revision(revision);
    DELETE FROM synkrone.placed
    USING string_to_table(recall.rooms, E'\n') AS named (room)
    WHERE placed.room = named.room AND placed.log_offset = recall.about;
    UPDATE synkrone.contents SET recalled = contents.rooms, rooms = NULL, payload = NULL,
        expires_at = least(contents.expires_at, locked.stored_at)
    WHERE contents.log_offset = recall.about;
    INSERT INTO synkrone.entries (log_offset, stored_at, event, form, rooms, payload, about)
    VALUES (recall.first, locked.stored_at, 'notification.deleted', new_form, recall.rooms, new_payload, recall.about);
    INSERT INTO synkrone.placed (room, log_offset, item)
    SELECT named.room, recall.first, false FROM string_to_table(recall.rooms, E'\n') AS named (room);
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, recall.first, locked.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.recall IS
    'Take a notification back: it leaves its rooms and loses its content, and the entry "first" says so in the same '
    'rooms. Without "about" there is none, and without "first" nothing was done, as it was taken back before. Said '
    'again, also by another connection, it answers as it did.';
