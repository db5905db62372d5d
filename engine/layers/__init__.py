"""What a layer is on disk: tar streams to directories and back, overlay stacks, and the changes between trees."""
