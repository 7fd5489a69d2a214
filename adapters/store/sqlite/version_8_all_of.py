"""Of what makes a file of version 7 one of version 8: rooms of several parts, and what their parts are."""

from __future__ import annotations

import sqlite3


def all_of(db: sqlite3.Connection) -> None:
    """Whoever makes a room by a name that tells of parts has it here, by the same statement. It is found by one of its
    parts, see ``RoomsOfAll`` of the store in memory; ``size`` is how many it has.

    Names hold no tab: with it, and what JSON has a meaning for, taken care of a name is a list.
    """
    for statement in (
        """CREATE TABLE all_of (
            found_by INTEGER NOT NULL, room INTEGER NOT NULL, size INTEGER NOT NULL,
            PRIMARY KEY (found_by, room)) WITHOUT ROWID""",
        """CREATE TABLE all_of_parts (
            room INTEGER NOT NULL, part INTEGER NOT NULL, PRIMARY KEY (room, part)) WITHOUT ROWID""",
        """CREATE VIEW all_of_names AS
            SELECT rooms.id AS room, value AS part
            FROM rooms, json_each('["' || replace(replace(replace(
                substr(rooms.name, 5), '\\', '\\\\'), '"', '\\"'), char(9), '","') || '"]')
            WHERE rooms.name GLOB 'all:*'""",
        """CREATE TRIGGER all_of_noted AFTER INSERT ON rooms WHEN NEW.name GLOB 'all:*' BEGIN
            INSERT OR IGNORE INTO rooms (name) SELECT part FROM all_of_names WHERE room = NEW.id;
            INSERT INTO all_of_parts (room, part)
            SELECT NEW.id, rooms.id FROM all_of_names JOIN rooms ON rooms.name = part WHERE all_of_names.room = NEW.id;
            INSERT INTO all_of (found_by, room, size)
            SELECT part, NEW.id, (SELECT count(*) FROM all_of_parts WHERE room = NEW.id)
            FROM all_of_parts JOIN rooms ON rooms.id = part WHERE all_of_parts.room = NEW.id
            ORDER BY rooms.name NOT GLOB 'topic:*', (SELECT count(*) FROM all_of WHERE found_by = part) LIMIT 1;
            UPDATE meta SET value = 2 WHERE name = 'groups' AND value < 2;
        END""",
    ):
        db.execute(statement)
