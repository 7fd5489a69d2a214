-- Whom a notification for a role or for everyone is for is found by the room, in the order in which they started there.
CREATE INDEX starts_room ON synkrone.starts (room, start_offset, user_id);

ALTER TABLE synkrone.state ADD COLUMN deleted_at bigint;
