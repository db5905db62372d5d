"""Formats that others define: references, the image-spec's documents, archives, the runtime-spec."""
