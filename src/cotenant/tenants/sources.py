"""All sources of names there are, in the order in which they are believed.

Tried on the real thing: Docker 20.10 (cgroupfs driver), podman 4.3 (cgroupfs) as root and, on pure
cgroup v2, as a user, containerd 1.6 through `ctr` with CRI annotations, plain cgroups. Untried,
tested on recorded layouts: a live Kubernetes node (kubelet with containerd, CRI-O, cri-dockerd),
kind, k3s, MicroK8s, nerdctl, Docker and podman on the systemd driver, rootless Docker, a host that
systemd runs, libvirt, Proxmox, QEMU by hand, Firecracker with and without jailer, Cloud Hypervisor,
Kata, LXC and LXD, systemd-nspawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cotenant.tenants.containerd import Containerd
from cotenant.tenants.crio import Crio
from cotenant.tenants.desk import Desk
from cotenant.tenants.docker import Docker
from cotenant.tenants.docker_files import DockerFiles
from cotenant.tenants.facts import Question, Source
from cotenant.tenants.podman import Podman
from cotenant.tenants.procs import Processes
from cotenant.tenants.vm import VmSource


def open_desk(
    host_root: Path,
    processes: Processes,
    containerd: Containerd,
    docker_sockets: Sequence[str],
    listen: bool,
) -> tuple[Desk, tuple[str, ...]]:
    """The desk of all sources, and their names, the most believed first.

    `docker_sockets` are paths on the host. `listen`: let Docker's event stream put names on the
    desk by itself.
    """
    desk = Desk()
    docker = Docker(host_root, desk.mail if listen else None, sockets=docker_sockets)
    sources: list[Source] = [
        docker,
        DockerFiles(host_root),
        Crio(host_root),
        Podman(host_root),
        containerd,
        VmSource(processes),
    ]
    desk.open(sources)
    return desk, tuple(source.name for source in sources)


def complaints(desk: Desk, unnamed: Sequence[Question], docker: bool) -> list[str]:
    """What is wrong with sources, in sentences: those that cost a name, and Docker's where it runs.

    `unnamed`: what is asked about tenants without a name. `docker`: whether Docker has containers
    here, so that its silence matters even where its files made up for it.
    """
    sentences = []
    for source, error in desk.complaints.items():
        lost = sum(source in desk.who(question) for question in unnamed)
        if lost:
            tenants = "1 tenant shows" if lost == 1 else f"{lost} tenants show"
            sentences.append(f"{error} {tenants} as unknown.")
        elif source == "docker" and docker:
            sentences.append(error)
    for source, number in desk.silent().items():
        if source not in desk.complaints:
            tenants = "1 tenant" if number == 1 else f"{number} tenants"
            sentences.append(f"No answer yet from {source} about {tenants}.")
    return sentences
