-- Leases last for seconds: after a crash of the database there are none, and nodes register anew. What is not in the
-- WAL is in no copy of the database either: its nodes have a secret of their own.
CREATE UNLOGGED TABLE synkrone.cluster (
    the boolean PRIMARY KEY DEFAULT true CHECK (the),
    incarnation text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    secret bytea NOT NULL,
    steady_from bigint NOT NULL);

CREATE UNLOGGED TABLE synkrone.nodes (
    boot text COLLATE "C" PRIMARY KEY,
    address text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    since bigint NOT NULL,
    connections integer NOT NULL,
    log_offset bigint NOT NULL,
    lag bigint NOT NULL,
    renewed_at bigint NOT NULL);

CREATE FUNCTION synkrone.has_lease(own_boot text, held_in text, lease bigint) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT NOT EXISTS (
        SELECT FROM synkrone.cluster, (SELECT extract(epoch FROM clock_timestamp()) * 1000000 - lease) AS past (at)
        WHERE incarnation = synkrone.incarnation()
            AND NOT (steady_from > past.at AND name <> held_in)
            AND NOT EXISTS (
                SELECT FROM synkrone.nodes
                WHERE boot = own_boot AND (renewed_at > past.at OR steady_from > past.at)))
$$;
COMMENT ON FUNCTION synkrone.has_lease IS
    'Whether a node that held a lease in the cluster of the name "held_in" has it still, or may come over with it.';

CREATE FUNCTION synkrone.renew_lease(
    own_boot text, own_address text, own_version text, own_since bigint, own_connections integer, own_offset bigint,
    held_in text, lease bigint, new_name text, new_secret bytea,
    OUT is_lost boolean, OUT cluster text, OUT secret bytea, OUT is_settled boolean)
LANGUAGE plpgsql AS $$
DECLARE
    found_cluster synkrone.cluster;
    present bigint;
    is_renewed boolean;
BEGIN
    -- Nothing here has to outlive a crash, or to wait for a standby.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT * INTO found_cluster FROM synkrone.cluster FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO synkrone.cluster (incarnation, name, secret, steady_from) VALUES ('', new_name, new_secret, 0)
        ON CONFLICT DO NOTHING;
        SELECT * INTO found_cluster FROM synkrone.cluster FOR UPDATE;
    END IF;
    present := extract(epoch FROM clock_timestamp()) * 1000000;
    IF found_cluster.incarnation <> synkrone.incarnation() THEN
        DELETE FROM synkrone.nodes;
        UPDATE synkrone.cluster
        SET incarnation = synkrone.incarnation(), name = new_name, secret = new_secret, steady_from = present
        RETURNING * INTO found_cluster;
    END IF;
    -- Of a clock that was set back.
    UPDATE synkrone.nodes SET renewed_at = present WHERE renewed_at > present;
    -- While one node renews, there is never so long a gap.
    IF found_cluster.steady_from > present
        OR (SELECT max(renewed_at) FROM synkrone.nodes) < present - lease / 2 THEN
        UPDATE synkrone.cluster SET steady_from = present RETURNING * INTO found_cluster;
    END IF;
    cluster := found_cluster.name;
    secret := found_cluster.secret;
    is_settled := found_cluster.steady_from <= present - lease;
    IF is_settled THEN
        DELETE FROM synkrone.nodes WHERE renewed_at <= present - lease;
    END IF;
    UPDATE synkrone.nodes
    SET connections = own_connections, log_offset = own_offset, lag = greatest(synkrone.head() - own_offset, 0),
        renewed_at = present
    WHERE boot = own_boot;
    is_renewed := FOUND;
    is_lost := NOT is_renewed AND held_in IS NOT NULL AND (is_settled OR held_in = cluster);
    IF NOT is_renewed AND NOT is_lost THEN
        INSERT INTO synkrone.nodes (boot, address, version, since, connections, log_offset, lag, renewed_at)
        VALUES (own_boot, own_address, own_version, own_since, own_connections, own_offset,
            greatest(synkrone.head() - own_offset, 0), present);
    END IF;
END
$$;
COMMENT ON FUNCTION synkrone.renew_lease IS
    'Take a lease or renew it. "held_in" is the name of the cluster in which the node has held it: where it is not there '
    'any more it is lost, but for that of another cluster, whose nodes come over while this one is young. Times are in '
    'microseconds.';
