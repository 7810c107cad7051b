#!/bin/bash
# tests/vm/dockerd.sh: starts a real dockerd inside a test VM (there is no systemd in it) and waits
# until it answers. Does nothing when one answers already. Its log is /run/dockerd.log.
#
# Images: no registry can be reached, so import one:
#   tar -C /usr -c bin/busybox | docker import - busybox   (with the static busybox of Debian)
set -u
docker version >/dev/null 2>&1 && exit 0
# cgroupfs: the systemd driver needs systemd. The bridge (docker0, veth pairs) works in here, from
# container to container and to the VM; its firewall rules only reach outside, where there is
# nothing, and cost 10 s and more to set up: --iptables=true gives them back.
dockerd --exec-opt native.cgroupdriver=cgroupfs --iptables=false --ip6tables=false "$@" </dev/null >/run/dockerd.log 2>&1 &
pid=$!
for _ in $(seq 120); do
    docker version >/dev/null 2>&1 && exit 0
    kill -0 $pid 2>/dev/null || break
    sleep 0.5
done
echo "dockerd does not answer; the end of /run/dockerd.log:" >&2
tail -n 20 /run/dockerd.log >&2
exit 1
