#!/bin/bash
# tests/vm/rootless_podman.sh ARGUMENT ...: podman as an ordinary user inside a test VM.
#
# The first call makes the user (uid 2000) and what systemd and logind would have given it: a run
# folder and a cgroup of its own with every controller. Containers then live in
# /user.slice/user-2000.slice/user@2000.service/pods/libpod-ID (`run` is told so here); their files
# where podman puts them by itself, below the home. ROOTLESS_DRIVER is podman's storage driver.
# Images come from a file: rootless_podman.sh import FILE.tar NAME. Networks are left out
# (slirp4netns is not installed): run with --network none or --network host.
set -eu
uid=2000
root=/sys/fs/cgroup
home=/var/tmp/rootless # on the disk: a user namespace cannot put layers on the layers below /home
slice=user.slice/user-$uid.slice/user@$uid.service

set_up() {
    echo "rootless:x:$uid:$uid::$home:/bin/sh" >>/etc/passwd
    echo "rootless:x:$uid:" >>/etc/group
    mkdir -p $home /run/user/$uid "$root/$slice/init.scope" "$root/$slice/pods"
    chmod 700 /run/user/$uid
    local folder
    for folder in user.slice user.slice/user-$uid.slice "$slice" "$slice/pods"; do
        sed 's/[^ ]*/+&/g' $root/cgroup.controllers >"$root/$folder/cgroup.subtree_control"
    done
    chown -R $uid:$uid $home /run/user/$uid "$root/$slice"
}

[ -d /run/user/$uid ] || set_up
verb=$1
shift
[ "$verb" != run ] || set -- --cgroup-parent "/$slice/pods" "$@"
# Moving itself first: a user may only move processes within the cgroups that are its own.
echo $$ >"$root/$slice/init.scope/cgroup.procs"
cd $home
exec setpriv --reuid $uid --regid $uid --clear-groups env HOME=$home XDG_RUNTIME_DIR=/run/user/$uid \
    podman --storage-driver "${ROOTLESS_DRIVER:-overlay}" --cgroup-manager cgroupfs --runtime crun "$verb" "$@"
