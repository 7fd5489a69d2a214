"""A log and its inboxes in a PostgreSQL database, which survive the server and its machine."""
