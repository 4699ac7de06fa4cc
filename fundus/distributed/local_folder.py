"""Which folders are on a disk of this machine: LMDB's files must not be on a network's."""

from __future__ import annotations

import os
from pathlib import Path

from fundus.exceptions import StoreError

#: File systems of networks and clusters, as the system calls them.
NETWORKED = frozenset(
    {"afs", "beegfs", "ceph", "cephfs", "cifs", "davfs", "fhgfs", "glusterfs", "gpfs", "lustre"}
    | {"nfs", "nfs3", "nfs4", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "wekafs"}
)
#: What programs mount, such as sshfs, is named ``fuse.sshfs``; these of them are local.
_LOCAL_FUSE = frozenset({"fuse.ext4", "fuse.ntfs", "fuse.exfat", "fuse.overlayfs"})


def file_system(folder: Path) -> str:
    """Return the name of a folder's file system, such as ``"ext4"``; empty where it is unknown.

    The folder need not exist yet.
    """
    import psutil

    place = os.path.realpath(folder)
    best, kind = "", ""
    for part in psutil.disk_partitions(all=True):
        mount = os.path.realpath(part.mountpoint)
        inside = place == mount or place.startswith(mount.rstrip(os.sep) + os.sep)
        # of two mounts on one place the later one hides the former
        if inside and len(mount) >= len(best):
            best, kind = mount, part.fstype.lower()
    return kind


def refuse_networked(folder: Path) -> None:
    """Refuse a folder for a store that is not on a disk of this machine.

    Raises
    ------
    StoreError
        If it is on a network file system.
    """
    kind = file_system(folder)
    if kind in NETWORKED or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE):
        raise StoreError(
            f"The cache folder {str(folder)!r} is on a network file system ({kind}), on which the "
            "files of the cache break when several machines write them: give each machine a folder "
            "on a disk of its own, with worker_cache= or its FUNDUS_CACHE_DIR."
        )
