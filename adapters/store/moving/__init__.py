"""Moving a store from a SQLite file into a PostgreSQL database beside its server, and any store into lines and back."""
