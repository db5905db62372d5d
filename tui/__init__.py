"""The app: a workstation for containers in a terminal, on top of the engine's façade."""
