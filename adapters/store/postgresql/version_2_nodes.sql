-- Leases last for seconds: after a crash of the database there are none, and nodes register anew.
CREATE UNLOGGED TABLE synkrone.nodes (
    boot text COLLATE "C" PRIMARY KEY,
    address text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    since bigint NOT NULL,
    connections integer NOT NULL,
    log_offset bigint NOT NULL,
    renewed_at bigint NOT NULL);
