"""The panes and the lines around them: each draws records that it is handed, none knows the engine."""
