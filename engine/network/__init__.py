"""The network of containers: bridge, addresses, published ports, names."""
