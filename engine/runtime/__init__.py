"""cowl as an OCI runtime: what others call to have a bundle's container made, started and removed."""
