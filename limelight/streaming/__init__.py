"""Pictures without end: folders, lists and archives into a table, a shard at a time; any iterable, one by one."""
