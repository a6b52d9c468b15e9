#!/usr/bin/env bash
# The first process of a lab host: makes its file systems, waits for its network, starts sshd, reaps children.
#
# Arguments: STATE NAME ADDRESS/PREFIX. STATE is the host's folder outside; its etc, var and home outlive a "reboot".
# Speaks with the test by lines: "mounted" out, "go" in, "up" out. It ends, and everything in the host with
# it, when stdin ends.
set -euo pipefail
state=$1 name=$2 address=$3

mount --make-rprivate /
hostname "$name"
mount -t proc proc /proc
mount --bind "$state/boot_id" /proc/sys/kernel/random/boot_id
for folder in /tmp /run /dev/shm; do
    mount -t tmpfs -o mode=1777 tmpfs "$folder"
done
chmod 755 /run
mount --bind "$state/etc" /etc
mount --bind "$state/home" /home
mount --bind "$state/root" /root
for folder in "$state"/var/*/*; do
    target=${folder#"$state"}
    [[ ! -d $target ]] || mount --bind "$folder" "$target"
done
mount --bind "$state/srv" /srv
while read -r hidden; do
    [[ ! -e $hidden ]] || mount --bind /dev/null "$hidden"
done <"$state/hidden"
# Whatever has no private place in the host must not reach the machine.
mount -o remount,bind,ro /
mkdir -p /run/sshd /run/lock
echo mounted

read -r go && [[ $go == go ]]
ip link set lo up
ip address add "$address" dev eth0
ip link set eth0 up
/usr/sbin/sshd -f "$state/sshd_config" </dev/null >/dev/null 2>&1
echo up

# bash reaps whatever ends here while it waits for the line that never comes.
read -r _ || true
