"""What a layer is on disk: tar streams to directories and back, overlay stacks, changes between trees."""
