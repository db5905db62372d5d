"""The command line, as whole processes and as the parts that it is made of."""
