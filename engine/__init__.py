"""cowl's engine: images, containers and their changes, without a daemon.

The façade is `Engine`; what it takes and gives are the records of `engine.model`, what it raises the errors of
`engine.errors`. Names are imported at their first use: the launch path pays for nothing that it does not touch.
"""
