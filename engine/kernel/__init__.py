"""The only room that makes raw system calls: mounts, namespaces, capabilities, cgroups, devices."""
