-- What stands against users, as the controls of the log have said. Times are in microseconds since 1970.
CREATE TABLE synkrone.restrictions (
    user_id text COLLATE "C" PRIMARY KEY,
    log_offset bigint NOT NULL,
    issued_before bigint,
    blocked boolean NOT NULL,
    until bigint,
    reason text COLLATE "C");
COMMENT ON TABLE synkrone.restrictions IS
    'Tokens that were issued at or before "issued_before" are not good any more; who is blocked is not let in before '
    '"until", or ever. "log_offset" is that of the control that was the last to change it.';

CREATE FUNCTION synkrone.append_restrictions(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    new_events text[], new_form smallint, new_payloads text[],
    new_users text[], new_issued_before bigint[], new_blocked boolean[], new_until bigint[], new_reasons text[],
    OUT first bigint, OUT epoch text)
LANGUAGE plpgsql AS $$
DECLARE
    is_said_again boolean;
BEGIN
    PERFORM synkrone.lock_log(at, known, known_epoch, sync);
    is_said_again := EXISTS (SELECT FROM synkrone.appends WHERE name = append_name);
    SELECT appended.first, appended.epoch INTO first, epoch
    FROM synkrone.append_controls(
        append_name, answered, at, known, known_epoch, sync, new_events, new_form, new_payloads) AS appended;
    IF is_said_again THEN
        RETURN;
    END IF;
    FOR number IN 1 .. cardinality(new_users) LOOP
        -- A revocation says nothing of blocks, and a block or its end nothing of revocations.
        INSERT INTO synkrone.restrictions AS stored (user_id, log_offset, issued_before, blocked, until, reason)
        VALUES (new_users[number], first + number - 1, new_issued_before[number],
            coalesce(new_blocked[number], false), new_until[number], new_reasons[number])
        ON CONFLICT (user_id) DO UPDATE SET
            log_offset = excluded.log_offset,
            issued_before = greatest(stored.issued_before, excluded.issued_before),
            blocked = CASE WHEN new_blocked[number] IS NULL THEN stored.blocked ELSE excluded.blocked END,
            until = CASE WHEN new_blocked[number] IS NULL THEN stored.until ELSE excluded.until END,
            reason = CASE WHEN new_blocked[number] IS NULL THEN stored.reason ELSE excluded.reason END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION synkrone.append_restrictions IS
    'Controls of the log that restrict users, in the order given, and what then stands against them. '
    '"new_blocked" is NULL for a revocation. Said again it answers as it did, and changes nothing.';
