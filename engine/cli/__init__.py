"""The `cowl` command: a thin twin of everything that the app can do."""
