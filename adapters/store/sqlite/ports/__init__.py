"""The ports of a store in a SQLite file: what is done in the loop, and what is asked of the threads."""
