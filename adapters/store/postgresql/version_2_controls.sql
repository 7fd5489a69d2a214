CREATE FUNCTION synkrone.append_controls(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    new_events text[], new_form smallint, new_payloads text[],
    OUT first bigint, OUT epoch text)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
BEGIN
    locked := synkrone.lock_log(at, known, known_epoch, sync);
    SELECT appends.first, epochs.epoch INTO first, epoch
    FROM synkrone.appends JOIN synkrone.epochs ON epochs.number = appends.epoch_number
    WHERE appends.name = append_name;
    IF FOUND THEN
        RETURN;
    END IF;
    first := locked.head + 1;
    epoch := locked.epoch;
    INSERT INTO synkrone.entries (log_offset, stored_at, event, form, payload)
    SELECT append_controls.first + given.number - 1, locked.stored_at, given.event, new_form, given.payload
    FROM unnest(new_events, new_payloads) WITH ORDINALITY AS given (event, payload, number);
    DELETE FROM synkrone.appends WHERE name = ANY (answered);
    INSERT INTO synkrone.appends (name, stored_at, first, epoch_number)
    VALUES (append_name, locked.stored_at, append_controls.first, locked.epoch_number);
END
$$;
COMMENT ON FUNCTION synkrone.append_controls IS
    'What servers are to do, in the order given: entries that are placed in no room. Said again, also by another '
    'connection, it answers as it did.';
