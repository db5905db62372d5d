"""Containers: their records and lives, the monitor, exec and attach, logs and statistics."""
