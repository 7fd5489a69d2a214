-- What became of deliveries. A run is a server from its start to its end; its number is random: one that is counted
-- would be given twice, where the database has lost the first.
CREATE TABLE synkrone.ledger_runs (
    number bigint PRIMARY KEY,
    seen_at bigint NOT NULL,
    delivered bigint NOT NULL);

-- Since when everything is kept; no row where nothing is.
CREATE TABLE synkrone.ledger_since (the boolean PRIMARY KEY DEFAULT true CHECK (the), at bigint NOT NULL);

CREATE TABLE synkrone.ledger_connections (
    run bigint NOT NULL,
    number bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    device text COLLATE "C",
    transport text COLLATE "C" NOT NULL,
    pid text COLLATE "C" NOT NULL,
    since bigint NOT NULL,
    after bigint NOT NULL,
    had bigint,
    continues text COLLATE "C",
    replayed bigint,
    skipped bigint[] NOT NULL,
    until bigint,
    ended text COLLATE "C",
    sent bigint,
    received bigint,
    PRIMARY KEY (run, number)) WITH (fillfactor = 80);
CREATE INDEX ledger_connections_user ON synkrone.ledger_connections (user_id, until);
CREATE INDEX ledger_connections_until ON synkrone.ledger_connections (until);

CREATE TABLE synkrone.ledger_receipts (
    user_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    upto jsonb NOT NULL,
    PRIMARY KEY (user_id, at));
CREATE INDEX ledger_receipts_at ON synkrone.ledger_receipts (at);

CREATE TABLE synkrone.ledger_unsent (
    run bigint NOT NULL,
    log_offset bigint NOT NULL,
    at bigint NOT NULL);
CREATE INDEX ledger_unsent_log_offset ON synkrone.ledger_unsent (log_offset);
CREATE INDEX ledger_unsent_at ON synkrone.ledger_unsent (at);

ALTER TABLE synkrone.state ADD COLUMN read_by text COLLATE "C";
ALTER TABLE synkrone.watermarks ADD COLUMN read_by text COLLATE "C";

-- Beside the one of before, which servers of before call.
CREATE FUNCTION synkrone.append_changes(
    append_name uuid, answered uuid[], at bigint, known bigint, known_epoch text, sync boolean,
    new_events text[], new_form smallint, new_rooms text[], new_payloads text[],
    readers text[], read_in integer[], new_read_at bigint[], new_read_by text[],
    OUT first bigint, OUT epoch text)
LANGUAGE plpgsql AS $$
DECLARE
    appended record;
BEGIN
    SELECT * INTO appended FROM synkrone.append_changes(
        append_name, answered, at, known, known_epoch, sync, new_events, new_form, new_rooms, new_payloads,
        readers, read_in, new_read_at);
    first := appended.first;
    epoch := appended.epoch;
    UPDATE synkrone.watermarks SET read_by = given.device
    FROM unnest(readers, read_in, new_read_by) AS given (user_id, number, device)
    WHERE watermarks.user_id = given.user_id AND watermarks.log_offset = append_changes.first + given.number
        AND given.device IS NOT NULL;
END
$$;
COMMENT ON FUNCTION synkrone.append_changes(
    uuid, uuid[], bigint, bigint, text, boolean, text[], smallint, text[], text[], text[], integer[], bigint[], text[])
    IS 'The same, with the devices by which the "readers" have read everything, where these have a name.';
