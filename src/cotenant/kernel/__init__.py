"""The border to the kernel: libbpf, cgroup files, netlink. The only room that imports ctypes."""
