"""A second kernel for the kernel tests: User Mode Linux, with cgroup v2, an older overlayfs and no PSI."""
