"""Everything in memory, for one process and its tests."""

from adapters.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
