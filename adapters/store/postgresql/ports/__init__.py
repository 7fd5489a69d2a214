"""The ports of a store in a PostgreSQL database: what is done in the loop, and what is asked of the threads."""
