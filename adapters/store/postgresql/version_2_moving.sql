-- The move of a file into this database. Until it is finished the file is what counts, and nobody opens the database.
CREATE TABLE synkrone.moving (
    the boolean PRIMARY KEY DEFAULT true CHECK (the),
    name uuid NOT NULL DEFAULT gen_random_uuid(),
    copied_upto bigint NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz);

CREATE FUNCTION synkrone.refuse_epoch() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('synkrone.moving', true) IS DISTINCT FROM 'on'
        AND EXISTS (SELECT FROM synkrone.moving WHERE finished_at IS NULL) THEN
        RAISE EXCEPTION 'a move into this database is not finished: run synkrone-socket move again';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION synkrone.refuse_epoch IS
    'Whoever opens the database begins an epoch, under the lock of the log, which the beginning of a move holds too.';
CREATE TRIGGER refuse_epoch BEFORE INSERT ON synkrone.epochs
FOR EACH ROW EXECUTE FUNCTION synkrone.refuse_epoch();
