"""The forest of images: nodes and tags, loading and saving, commits, the starter images."""
