-- Servers know their own connections: after a crash of the database they say anew what there is.
CREATE UNLOGGED TABLE synkrone.connections (
    boot text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    pid text COLLATE "C" NOT NULL,
    admitted_at bigint NOT NULL,
    device text COLLATE "C",
    role text COLLATE "C" NOT NULL,
    transport text COLLATE "C" NOT NULL,
    remote_address text COLLATE "C" NOT NULL,
    since bigint NOT NULL,
    displaced_by text COLLATE "C",
    PRIMARY KEY (boot, id)) WITH (fillfactor = 80);
CREATE INDEX connections_user ON synkrone.connections (user_id, admitted_at);
CREATE INDEX connections_displaced ON synkrone.connections (boot) WHERE displaced_by IS NOT NULL;

-- Whose connections are all there, in which database: what is restored or promoted has those of others, or none.
CREATE UNLOGGED TABLE synkrone.present (
    boot text COLLATE "C" PRIMARY KEY,
    incarnation text COLLATE "C" NOT NULL);

CREATE FUNCTION synkrone.admit(
    own_boot text, most integer, newcomers json,
    OUT is_lost boolean, OUT present bigint, OUT concerns_others boolean)
LANGUAGE plpgsql AS $$
DECLARE
    new_ids text[];
    new_users text[];
    new_continues text[];
BEGIN
    -- Nothing here has to outlive a crash, or to wait for a standby.
    PERFORM set_config('synchronous_commit', 'off', true);
    concerns_others := false;
    is_lost := NOT EXISTS (SELECT FROM synkrone.nodes WHERE boot = own_boot) AND EXISTS (SELECT FROM synkrone.nodes);
    IF is_lost THEN
        RETURN;
    END IF;
    SELECT array_agg(id), array_agg(user_id), array_agg(continues) INTO new_ids, new_users, new_continues
    FROM json_to_recordset(newcomers) AS given (id text, user_id text, continues text);
    PERFORM pg_advisory_xact_lock(1398361680, name)
    FROM (SELECT DISTINCT hashtext(user_id) AS name FROM unnest(new_users) AS given (user_id) ORDER BY name) AS in_order;
    -- The statements that follow see what was there as the locks were had. Where the clock was set back, who comes is
    -- the last one all the same.
    present := extract(epoch FROM clock_timestamp()) * 1000000;
    INSERT INTO synkrone.connections
        (boot, id, user_id, pid, admitted_at, device, role, transport, remote_address, since)
    SELECT own_boot, given.id, given.user_id, given.pid,
        coalesce(given.admitted_at, greatest(present, (
            SELECT connections.admitted_at FROM synkrone.connections WHERE connections.user_id = given.user_id
            ORDER BY connections.admitted_at DESC LIMIT 1)) + given.number),
        given.device, given.role, given.transport, given.remote_address, given.since
    FROM ROWS FROM (json_to_recordset(newcomers) AS (
            id text, user_id text, pid text, admitted_at bigint, device text, role text, transport text,
            remote_address text, since bigint)) WITH ORDINALITY
        AS given (id, user_id, pid, admitted_at, device, role, transport, remote_address, since, number)
    ON CONFLICT DO NOTHING;
    WITH counted AS (
        SELECT boot, id, user_id, pid, connections.admitted_at FROM synkrone.connections
        WHERE user_id = ANY (new_users) AND displaced_by IS NULL
            AND (boot = own_boot OR boot IN (SELECT nodes.boot FROM synkrone.nodes))),
    continued AS (
        SELECT DISTINCT older.boot, older.id, 'superseded' AS displaced_by
        FROM unnest(new_ids, new_users, new_continues) AS given (id, user_id, pid)
        JOIN counted AS newer ON newer.boot = own_boot AND newer.id = given.id
        JOIN counted AS older ON older.user_id = given.user_id AND older.pid = given.pid
            AND older.admitted_at < newer.admitted_at),
    ranked AS (
        SELECT boot, id, row_number() OVER (PARTITION BY user_id ORDER BY counted.admitted_at DESC) AS rank FROM counted
        WHERE (boot, id) NOT IN (SELECT continued.boot, continued.id FROM continued)),
    displaced AS (
        UPDATE synkrone.connections SET displaced_by = gone.displaced_by
        FROM (
            SELECT boot, id, displaced_by FROM continued
            UNION ALL SELECT boot, id, 'too_many_connections' FROM ranked WHERE rank > most) AS gone
        WHERE connections.boot = gone.boot AND connections.id = gone.id
        RETURNING connections.boot)
    SELECT coalesce(bool_or(boot <> own_boot), false) INTO concerns_others FROM displaced;
END
$$;
COMMENT ON FUNCTION synkrone.admit IS
    'Have connections of a server count, unless it has lost its lease. Of each user more than "most" are too many, and '
    'one that has the pid which a new one continues is superseded: the servers that have them close them. Those that '
    'are named again stay as they are; with a time of admission, they were there before.';
