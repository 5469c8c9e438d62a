#!/bin/bash
# Builds a confidential machine's disk and kernel from a root tree: disk.raw and sealstat.efi. Needs root and systemd 255.
#
#   build.sh ROOT ATTESTER      ROOT: a Debian root with systemd, a kernel, python3-pip; see README.md
set -euo pipefail
root=$1 attester=$2 here=$(dirname "$(readlink -f "$0")") checkout=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
umask 022
export SOURCE_DATE_EPOCH=0

# (1) packages of the lock by their hashes, and the wheel; nothing is fetched inside
mkdir -p "$root/build"
python3 -m pip download --require-hashes --only-binary :all: --no-deps \
    --requirement "$checkout/requirements.lock" --dest "$root/build"
cp "$checkout"/dist/sealstat-*.whl "$checkout/requirements.lock" "$root/build/"
chroot "$root" python3 -m pip install --break-system-packages --no-compile --no-index --find-links /build \
    --require-hashes --no-deps --requirement /build/requirements.lock
chroot "$root" sh -c 'python3 -m pip install --break-system-packages --no-compile --no-index --no-deps /build/sealstat-*.whl'
rm -r "$root/build"

# (2) one service, no way in: no login, no shell on a console, no ssh, no swap, no time zone of its own
sed "s/ATTESTER/$attester/" "$here/sealstat-enclave.service" > "$root/etc/systemd/system/sealstat-enclave.service"
systemctl --root="$root" enable sealstat-enclave.service systemd-networkd.service systemd-resolved.service
systemctl --root="$root" mask getty.target console-getty.service serial-getty@.service ssh.service swap.target
rm -rf "$root"/etc/machine-id "$root"/etc/ssh "$root"/var/log/* "$root"/var/cache/*
find "$root/root" -mindepth 1 -delete
: > "$root/etc/machine-id"
find "$root" -xdev -name __pycache__ -prune -exec rm -r {} +
find "$root" -xdev -exec touch --no-dereference --date=@0 {} +

# (3) the disk: the root file system, and the tree of its hashes
roothash=$(systemd-repart --root="$root" --definitions="$here/repart.d" --empty=create --size=auto --dry-run=no \
    --seed=00000000-0000-0000-0000-000000000000 --json=short disk.raw |
    python3 -c 'import json, sys; print(next(part["roothash"] for part in json.load(sys.stdin) if part.get("roothash")))')

# (4) the kernel, which mounts that root and no other: its command line is measured with it
ukify build --linux="$(echo "$root"/boot/vmlinuz-*)" --initrd="$(echo "$root"/boot/initrd.img-*)" \
    --os-release="@$root/etc/os-release" --output=sealstat.efi \
    --cmdline="roothash=$roothash ro systemd.volatile=overlay systemd.verity_root_options=panic-on-corruption \
module.sig_enforce=1 lockdown=confidentiality panic=1"
echo "root hash $roothash"
sha256sum disk.raw sealstat.efi
