CREATE FUNCTION synkrone.give_up(missing bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    following record;
BEGIN
    PERFORM FROM synkrone.log_lock FOR UPDATE;
    SELECT entries.stored_at INTO following FROM synkrone.entries
    WHERE entries.log_offset >= missing ORDER BY entries.log_offset LIMIT 1;
    IF NOT FOUND OR missing <= (SELECT floor FROM synkrone.log) THEN
        RAISE EXCEPTION 'there is nothing to be given up at offset %', missing;
    END IF;
    INSERT INTO synkrone.trimmed (room, log_offset)
    SELECT room, missing FROM (
        SELECT room FROM synkrone.placed
        UNION
        SELECT 'user:' || user_id FROM synkrone.marks
        UNION
        SELECT string_to_table(rooms, E'\n') FROM synkrone.contents WHERE log_offset = missing) AS known (room)
    ORDER BY room COLLATE "C"
    ON CONFLICT (room) DO UPDATE SET log_offset = greatest(trimmed.log_offset, excluded.log_offset);
    DELETE FROM synkrone.placed WHERE log_offset = missing;
    DELETE FROM synkrone.entries WHERE log_offset = missing;
    INSERT INTO synkrone.entries (log_offset, stored_at, event)
    VALUES (missing, following.stored_at, 'notification.new');
    INSERT INTO synkrone.contents (log_offset, stored_at, id, type, form)
    SELECT missing, following.stored_at, 'given-up-' || missing, '', max(form) FROM synkrone.contents
    ON CONFLICT (log_offset) DO UPDATE SET rooms = NULL, payload = NULL, expires_at = NULL;
END
$$;
COMMENT ON FUNCTION synkrone.give_up IS
    'For operators: what is missing at an offset will not come back. Nobody is sent anything from there, and whoever has '
    'not come past it is told that something was trimmed. Reads all that is placed.';
