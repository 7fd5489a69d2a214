"""The operator's page: who may see it, what it asks, and the files that it consists of."""
