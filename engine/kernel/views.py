"""Reading a directory that somebody changes meanwhile, and who may want something else to be read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from engine.kernel import mount

_STRICT = mount.ATTR_RDONLY | mount.ATTR_NODEV | mount.ATTR_NOEXEC | mount.ATTR_NOSYMFOLLOW


@contextlib.contextmanager
def strict(directory: str) -> Iterator[str]:
    """A path that is *directory*, and below which no link is followed, no device opened, nothing written.

    Between the moment in which a directory is listed and that in which a file in it is opened, a container
    may have a link in the directory's place, which would lead anywhere on the host (as in CVE-2018-15664),
    or a device in the file's. It is the path of a mount that nobody else sees (MOUNT_ATTR_NOSYMFOLLOW, Linux
    5.14), good in this process during the block; on older kernels, and without the privilege, *directory*.
    """
    with contextlib.ExitStack() as stack:
        path = directory
        with contextlib.suppress(OSError):
            tree = mount.clone_tree(-100, directory)
            stack.callback(os.close, tree)
            mount.set_attributes(tree, _STRICT)
            path = f"{mount.by_descriptor(tree)}/."  # without the dot it is a link itself
        yield path
