"""Moving a store from a SQLite file into a PostgreSQL database, while a server serves from the file."""
