"""The embedded store: where things lie, what is recorded of them, and how both survive a crash."""
