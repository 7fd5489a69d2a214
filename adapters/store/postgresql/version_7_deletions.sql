-- What all whom it names have deleted loses its content, soon. Of what a user has deleted "settled" says that it was
-- looked at whether all have; what lost its content so has its "rooms" still, and no "payload".
ALTER TABLE synkrone.state ADD COLUMN settled boolean NOT NULL DEFAULT false;
CREATE INDEX state_unsettled ON synkrone.state (log_offset) WHERE deleted AND NOT settled;

CREATE FUNCTION synkrone.have_all_deleted(given_rooms text, given_offset bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT starts_with(given_rooms, 'user:') AND NOT EXISTS (
        SELECT FROM string_to_table(given_rooms, E'\n') AS named (room)
        WHERE (
            SELECT state.deleted FROM synkrone.state
            WHERE state.user_id = substr(named.room, 6) AND state.log_offset = given_offset) IS NOT TRUE)
$$;
COMMENT ON FUNCTION synkrone.have_all_deleted IS
    'Whether all whom a notification names have deleted it. Of one for groups others may have it.';

CREATE FUNCTION synkrone.erase_deleted(most integer, most_name_bytes bigint, OUT more boolean, OUT erased bigint[])
LANGUAGE plpgsql AS $$
DECLARE
    looked_at bigint[];
BEGIN
    -- The first that fit, at least one.
    SELECT array_agg(log_offset) INTO looked_at FROM (
        SELECT log_offset, row_number() OVER following AS number, sum(names) OVER following AS name_bytes
        FROM (
            SELECT log_offset, coalesce((
                SELECT octet_length(rooms) FROM synkrone.contents
                WHERE contents.log_offset = oldest.log_offset), 0) AS names
            FROM (
                SELECT DISTINCT log_offset FROM (
                    SELECT log_offset FROM synkrone.state WHERE deleted AND NOT settled
                    ORDER BY log_offset LIMIT most) AS unsettled) AS oldest) AS sized
        WINDOW following AS (ORDER BY log_offset ROWS UNBOUNDED PRECEDING)) AS chosen
    WHERE number = 1 OR name_bytes <= most_name_bytes;
    more := looked_at IS NOT NULL;
    IF NOT more THEN
        RETURN;
    END IF;
    SELECT array_agg(log_offset) INTO erased FROM synkrone.contents
    WHERE log_offset = ANY (looked_at) AND payload IS NOT NULL AND synkrone.have_all_deleted(rooms, log_offset);
    PERFORM synkrone.erase_revision(revised) FROM synkrone.contents WHERE log_offset = ANY (erased);
    UPDATE synkrone.contents SET payload = NULL, type = '' WHERE log_offset = ANY (erased);
    UPDATE synkrone.state SET settled = true WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM synkrone.state
        WHERE deleted AND NOT settled AND log_offset = ANY (looked_at)
        ORDER BY log_offset LIMIT most FOR UPDATE SKIP LOCKED));
END
$$;
COMMENT ON FUNCTION synkrone.erase_deleted IS
    'Look at some of what users have deleted since, by whoever has locked the log against others who trim or amend: '
    'what lost its content, and whether there may be more.';

CREATE FUNCTION synkrone.revise_kept(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    revised_id text, revised_before bigint, new_type text, new_form smallint, new_payload text, new_expires_at bigint,
    OUT rooms text, OUT first bigint, OUT epoch text, OUT is_refused boolean)
LANGUAGE plpgsql AS $$
BEGIN
    -- In the order in which it is done by what is called below.
    PERFORM FROM synkrone.log FOR UPDATE;
    PERFORM synkrone.lock_log(at, known, known_epoch, sync);
    PERFORM synkrone.leave_out_erased(revised_id);
    SELECT contents.payload IS NULL OR synkrone.have_all_deleted(contents.rooms, contents.log_offset) INTO is_refused
    FROM synkrone.contents
    WHERE contents.log_offset = (SELECT ids.log_offset FROM synkrone.ids WHERE ids.id = revised_id)
        AND NOT EXISTS (SELECT FROM synkrone.appends WHERE appends.name = append_name);
    IF is_refused THEN
        RETURN;
    END IF;
    SELECT revised.rooms, revised.first, revised.epoch, revised.is_refused INTO rooms, first, epoch, is_refused
    FROM synkrone.revise(
        append_name, answered, at, known, known_epoch, sync, revised_id, revised_before, new_type, new_form,
        new_payload, new_expires_at) AS revised;
END
$$;
COMMENT ON FUNCTION synkrone.revise_kept IS
    'The same as revise, for those who are not being erased, and refused where all of these have deleted it.';
