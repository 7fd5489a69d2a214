-- What is for those who are in all of some groups lies in a room of its own, whose name is "all:" and those of the groups
-- between tabs. It is found by one of them: a topic where there is one, of those the one by which the fewest are found.
-- Who is not in that is not asked about it.
CREATE TABLE synkrone.all_of (
    room text COLLATE "C" PRIMARY KEY,
    found_by text COLLATE "C" NOT NULL,
    parts text[] COLLATE "C" NOT NULL);
CREATE INDEX all_of_found_by ON synkrone.all_of (found_by);
CREATE TRIGGER groups_noted AFTER INSERT ON synkrone.all_of EXECUTE FUNCTION synkrone.note_groups();

CREATE FUNCTION synkrone.note_all_of() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    named text[] := string_to_array(substr(NEW.room, 5), E'\t');
BEGIN
    INSERT INTO synkrone.all_of (room, found_by, parts)
    SELECT NEW.room, part, named FROM unnest(named) AS part
    WHERE NOT EXISTS (SELECT FROM synkrone.all_of WHERE room = NEW.room)
    ORDER BY NOT starts_with(part, 'topic:'),
        (SELECT count(*) FROM (SELECT FROM synkrone.all_of WHERE found_by = part LIMIT 1000) AS found)
    LIMIT 1
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION synkrone.note_all_of IS
    'Whatever places something in a room of several groups, or says that it has lost something: the room is known then.';
CREATE TRIGGER all_of_noted AFTER INSERT ON synkrone.placed
    FOR EACH ROW WHEN (starts_with(NEW.room, 'all:')) EXECUTE FUNCTION synkrone.note_all_of();
CREATE TRIGGER all_of_noted AFTER INSERT ON synkrone.trimmed
    FOR EACH ROW WHEN (starts_with(NEW.room, 'all:')) EXECUTE FUNCTION synkrone.note_all_of();

CREATE FUNCTION synkrone.stays_in_all(whose text, rooms text[], starts bigint[])
RETURNS TABLE (room text, after_offset bigint, upto_offset bigint)
LANGUAGE plpgsql STABLE ROWS 1 AS $$
DECLARE
    beyond constant bigint := 1::bigint << 62;
BEGIN
    IF NOT EXISTS (SELECT FROM synkrone.all_of) THEN
        RETURN;
    END IF;
    -- With a LIMIT each is looked for by its key: otherwise the whole table could be read.
    RETURN QUERY
    WITH mine AS MATERIALIZED (
        SELECT stay.room, stay.after_offset AS after, coalesce(stay.upto_offset, beyond) AS upto
        FROM synkrone.memberships AS stay WHERE stay.user_id = whose
        UNION ALL
        SELECT given.room, given.after, beyond FROM unnest(rooms, starts) AS given (room, after)),
    known AS MATERIALIZED (
        SELECT whole.room, whole.parts
        FROM (SELECT DISTINCT mine.room FROM mine) AS part
        CROSS JOIN LATERAL (
            SELECT all_of.room, all_of.parts FROM synkrone.all_of WHERE all_of.found_by = part.room LIMIT beyond)
            AS whole)
    SELECT known.room, begun.after, nullif(min(mine.upto), beyond)
    FROM known
    CROSS JOIN LATERAL (SELECT DISTINCT mine.after FROM mine WHERE mine.room = ANY (known.parts)) AS begun
    JOIN mine ON mine.room = ANY (known.parts) AND mine.after <= begun.after AND mine.upto > begun.after
    GROUP BY known.room, known.parts, begun.after
    HAVING count(*) = cardinality(known.parts);
END
$$;
COMMENT ON FUNCTION synkrone.stays_in_all IS
    'The times in which a user, who starts so in these rooms, was in all of the groups of a room, as those in topics.';
