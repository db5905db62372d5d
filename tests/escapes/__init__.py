"""Ways out of a container, each tried for real from the inside, as root in a default container.

    CVE-2016-9962    what enters is traced, its descriptors taken       test_programs: descriptors, terminal
    CVE-2017-1002101 volumes through links of the image                 test_mounts: a_volume_through
    CVE-2019-5736    the host's program through /proc/self/exe          test_programs: the_host_s_interpreter
    CVE-2019-14271   libraries of the image loaded by what enters       test_programs: a_library
    CVE-2019-19921   /proc of the image is a link                       test_mounts: where_the_kernel_s_files
    CVE-2021-30465   a mount point swapped for a link                   test_mounts: a_directory_swapped
    CVE-2022-0492    release_agent of a cgroup                          attempts: files
    CVE-2022-27650   inheritable capabilities                           test_programs: nothing_of_the_caller
    CVE-2024-9676    /etc/passwd is a link                              containers/test_isolation
    CVE-2024-21626   a descriptor of the host as working directory      test_programs: no_working_directory
    CVE-2025-31133   /dev/null is a link                                test_mounts: a_dev_of_the_image
    CVE-2025-52565   /dev/console is a link                             test_mounts: a_dev_of_the_image
    CVE-2025-52881   writes to /proc are led elsewhere                  test_mounts, containers/test_isolation
    CVE-2026-30892, -47262  users, and floods of groups                 containers/test_isolation
    CVE-2018-15664   a file of the host read for one of the container   test_layers, containers/test_copying
    CVE-2022-36109   a group that denies, let go of                     test_programs: its_group_is_denied
    CVE-2020-15257   a socket without a path                            test_programs: memory_and_sockets
    CVE-2020-13401   routers announced by a neighbour                   network/test_announcements
    shocker          open_by_handle_at                                  attempts: calls

`attempts` has the system calls and files besides; `test_privileged` shows that they are closed, not absent.
"""
