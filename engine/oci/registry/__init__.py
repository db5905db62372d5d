"""The client of registries (OCI distribution-spec 1.1); it brings httpx, so it is not for the launch path."""
