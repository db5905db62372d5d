"""From a config.json to a program that runs in its namespaces; cowl and cowl-runtime share it."""
