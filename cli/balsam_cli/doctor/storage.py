"""Checks of the disks that a site lies on: which file systems, and how much room."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from balsam_cli.doctor.finding import Finding, note, ok, problem, quoted
from balsam_cli.doctor.patient import Patient

NETWORK = frozenset(
    {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "orangefs", "pvfs2"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.beegfs", "fuse.s3fs", "wekafs", "panfs", "daos"}
)
VOLATILE = frozenset({"tmpfs", "ramfs"})

LEAST_BYTES, FEW_BYTES = 100 << 20, 1 << 30
LEAST_INODES, FEW_INODES = 1_000, 50_000


@dataclass(frozen=True)
class Mount:
    """A mounted file system: where, and of what type."""

    point: str
    kind: str


def mounts(text: str) -> list[Mount]:
    """Those of a ``/proc/self/mountinfo``; see proc(5)."""
    found = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        if dash:
            point = left.split()[4].encode("latin-1", "replace").decode("unicode_escape")
            found.append(Mount(point, right.split()[0]))
    return found


def mount_of(path: Path, table: Sequence[Mount]) -> Mount:
    """The one that a path lies on: the longest mount point above it, the last where several lie on each other."""
    above = [mount for mount in table if path.is_relative_to(mount.point)]
    return max(reversed(above), key=lambda mount: len(mount.point), default=Mount("/", "unknown"))


def mount_table() -> list[Mount]:
    """The file systems of this host."""
    return mounts(Path("/proc/self/mountinfo").read_text(errors="replace"))


def check_file_system(patient: Patient) -> Iterator[Finding]:
    """Of what kind the file systems are."""
    yield judge_file_systems(patient, mount_table())


def judge_file_systems(patient: Patient, table: Sequence[Mount]) -> Finding:
    """Whether the database may lie where it does."""
    site = patient.site
    kinds = {path.name: mount_of(path.resolve(), table).kind for path in (site.database, site.data, site.log)}
    text = ", ".join(f"{name}/ on {kind}" for name, kind in kinds.items())
    local = patient.settings.database in ("sqlite", "postgres")
    if local and kinds["database"] in NETWORK:
        elsewhere = "balsam init /a/local/disk/site"
        if patient.settings.database == "sqlite":
            elsewhere += "    # or --db URL, a PostgreSQL server"
        return note("file systems", f"{text}: a database belongs on a local disk", elsewhere)
    if local and kinds["database"] in VOLATILE:
        return note("file systems", f"{text}: the database is lost when this host goes down", "balsam init PATH")
    return ok("file systems", text)


def check_space(patient: Patient) -> Iterator[Finding]:
    """There is room for more, in bytes and in files."""
    site = patient.site
    seen: dict[int, tuple[str, os.statvfs_result, Path]] = {}
    for path in (site.path, site.database, site.data, site.log):
        if path.is_dir():
            device = path.stat().st_dev
            names = f"{seen[device][0]}, {path.name}/" if device in seen else f"{path.name}/"
            seen[device] = (names, os.statvfs(path), path)
    findings = [judge_space(names, info, path) for names, info, path in seen.values()]
    yield max(findings, key=lambda one: ("ok", "note", "problem").index(one.level))


def judge_space(names: str, info: os.statvfs_result, path: Path) -> Finding:
    """Whether the free bytes and inodes of a file system are enough."""
    free, inodes = info.f_bavail * info.f_frsize, info.f_favail
    counted = info.f_files > 0  # some file systems have no fixed number of them
    text = f"{names}: {_size(free)} free" + (f", {inodes:,} inodes" if counted else "")
    fix = f"du -xh --max-depth=2 {quoted(path)} | sort -h | tail"
    if counted and inodes < FEW_INODES:
        fix = f"du -x --inodes --max-depth=2 {quoted(path)} | sort -n | tail"
    if free < LEAST_BYTES or (counted and inodes < LEAST_INODES):
        return problem("space", text, fix)
    if free < FEW_BYTES or (counted and inodes < FEW_INODES):
        return note("space", f"{text}: not much", fix)
    return ok("space", text)


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
