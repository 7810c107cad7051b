#!/bin/bash
# The first thing that runs inside a test VM: makes it a host with pure cgroup v2 and everything a
# test may want to write to, then runs the command of the job and leaves its exit status.
# All talk with the outside goes through files of the job folder (a 9p share): the serial ports of
# the VM lose output when they come up late.
set -u
job=/run/cotenant-vm/job
exec >>"$job/output.log" 2>&1 </dev/null
# The reader outside follows that file, not this shell: say where a set-up step broke.
trap 'echo "guest.sh: line $LINENO failed: $BASH_COMMAND"' ERR

# Sets COTENANT_VM_CHECKOUT, COTENANT_VM_MODULES and the variables passed on from outside.
. "$job/environment.sh"
cut -d' ' -f1 /proc/uptime >"$job/booted"
export COTENANT_VM=1 HOME=/root USER=root LANG=C.UTF-8 SHELL=/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Nothing can be kept, so compiling to a cache would be work for nothing.
export PYTHONDONTWRITEBYTECODE=1

host=/run/host                 # the machine's root, read-only, with a page cache
layers=/run/cotenant-vm/layers # what is written in here on top of it, in memory
table=/run/cotenant-vm/fstab   # one mount(8) reads it all: a process costs 0.1 s in here

# The root that virtme-ng mounts asks the outside for every single read. Python starts several
# times faster from a second mount that may cache: nothing changes outside while a test runs.
mount_host() {
    mkdir -p $host $layers
    cat >$table <<END
cotenanthost $host 9p ro,trans=virtio,version=9p2000.L,msize=500000,cache=loose,access=any 0 0
layers $layers tmpfs size=60%,mode=0755 0 0
END
    mount -a -T $table
}

# writable PATH ...: lines that make the machine's folders writable in here and only in here.
writable() {
    local path layer folders=()
    for path in "$@"; do
        [ -d "$host$path" ] || continue
        layer=$layers/${path//\//_}
        folders+=("$layer/upper" "$layer/work" "$path")
        echo "layer${path//\//-} $path overlay xino=off,lowerdir=$host$path,upperdir=$layer/upper,workdir=$layer/work 0 0"
    done
    [ ${#folders[@]} -eq 0 ] || mkdir -p "${folders[@]}"
}

mount_folders() {
    {
        # Empty, whatever the machine has there; the checkout comes back if it was in it.
        echo "tmp /tmp tmpfs mode=1777 0 0"
        writable /usr /opt /root /home
        # The layer over /usr hides the link to this kernel's modules that virtme-ng made.
        echo "modules /usr/lib/modules tmpfs x-mount.mkdir 0 0"
    } >$table
    mount -a -T $table
    ln -s "$host$COTENANT_VM_MODULES" "/usr/lib/modules/$(uname -r)"
    case "$COTENANT_VM_CHECKOUT/" in
        /usr/* | /opt/* | /root/* | /home/*) return 0 ;;
    esac
    writable "$COTENANT_VM_CHECKOUT" >$table
    mount -a -T $table
}

# A real block device (ext4 on virtio), for direct IO and for the container engines' own storage.
mount_disk() {
    modprobe -a virtio_blk ext4
    mount -t ext4 /dev/vda /var/tmp
    mkdir -p /var/tmp/engines/{docker,containerd,containers} /var/lib/{docker,containerd,containers}
    chmod 1777 /var/tmp
    cat >$table <<END
/var/tmp/engines/docker /var/lib/docker none bind 0 0
/var/tmp/engines/containerd /var/lib/containerd none bind 0 0
/var/tmp/engines/containers /var/lib/containers none bind 0 0
END
    mount -a -T $table
}

# virtme-ng has mounted cgroup2, tracefs and debugfs already.
mount_kernel_folders() {
    mount --make-rshared / # as systemd does; container engines expect it
    mount -t bpf bpf /sys/fs/bpf
    # As systemd does it on a real host: every controller in every child of the root.
    local controllers
    read -r controllers </sys/fs/cgroup/cgroup.controllers
    echo "+${controllers// / +}" >/sys/fs/cgroup/cgroup.subtree_control
}

set_up_network() {
    ip link set lo up
    echo 1 >/proc/sys/net/ipv4/ip_forward
    # The other modules (veth, bridge, tun, qdiscs, netfilter) the kernel loads at first use.
}

mount_host
mount_folders
mount_disk
mount_kernel_folders
set_up_network
trap - ERR

cd "$COTENANT_VM_CHECKOUT" || exit 1
cut -d' ' -f1 /proc/uptime >"$job/ready"
bash "$job/command.sh"
echo $? >"$job/status.partial"
mv "$job/status.partial" "$job/status"
sync
