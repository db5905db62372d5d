"""cowl beside its peers and beside what the kernel itself needs, as ratios of medians from one run."""
