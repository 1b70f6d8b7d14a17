#!/bin/sh
# Packs the kit of a board. If a manifest is set, `hearth image build` then
# makes an image from the kit, with partitions, slots and the initramfs.
set -eu

BOARD="$2"
KIT="${BINARIES_DIR}/hearth-${BOARD}.kit"
STAGE="${BUILD_DIR}/hearth-kit"
QUIET="panic=10 oops=panic quiet loglevel=4 hearth.board=${BOARD}"

case "${BOARD}" in
qemu-x86_64 | nuc)
	ARCH=x86_64
	KERNEL=bzImage
	CONSOLE="console=tty0 console=ttyS0,115200"
	;;
qemu-aarch64)
	ARCH=aarch64
	KERNEL=vmlinuz.efi
	CONSOLE="console=tty0 console=ttyAMA0"
	;;
rpi4)
	ARCH=aarch64
	# The firmware can start a compressed kernel. Uncompressed, the kernel
	# would fill a slot.
	KERNEL=Image.gz
	CONSOLE="console=tty0 console=ttyAMA0,115200"
	# The Pi's device tree sets cgroup_disable=memory; this later parameter
	# overrides it.
	CONSOLE="${CONSOLE} cgroup_enable=memory"
	;;
*)
	echo "post-image: ${BOARD} is no board (BR2_ROOTFS_POST_SCRIPT_ARGS)" >&2
	exit 1
	;;
esac

rm -rf "${STAGE}"
mkdir -p "${STAGE}/root"
cd "${STAGE}"

# The base of the initramfs; `hearth image build` adds the functions.
for directory in bin boot data dev etc/ssl/certs proc root run sbin sys tmp; do
	mkdir -p "root/${directory}"
done
chmod 700 root/root
chmod 1777 root/tmp
cp "${TARGET_DIR}/init" root/init
for program in hearth hearth-cell hearth-net; do
	cp "${TARGET_DIR}/bin/${program}" "root/bin/${program}"
done
cp "${TARGET_DIR}/usr/sbin/e2fsck" root/sbin/e2fsck
cp -L "${TARGET_DIR}/etc/ssl/certs/ca-certificates.crt" root/etc/ssl/certs/
ln -s /run/hearth/resolv.conf root/etc/resolv.conf

cp "${BINARIES_DIR}/${KERNEL}" kernel.efi
printf '%s %s\n' "${CONSOLE}" "${QUIET}" > cmdline

if [ "${BOARD}" = rpi4 ]; then
	mkdir -p firmware/overlays
	cp "${BINARIES_DIR}"/rpi-firmware/*.elf "${BINARIES_DIR}"/rpi-firmware/*.dat firmware/
	cp "${BINARIES_DIR}/rpi-firmware/config.txt" firmware/config.txt
	cp "${BINARIES_DIR}/rpi-firmware/overlays/miniuart-bt.dtbo" firmware/overlays/
	cp "${BINARIES_DIR}"/bcm2711-*.dtb firmware/
else
	cp "${BINARIES_DIR}/selector.efi" "${BINARIES_DIR}/stub.efi" .
fi

# The empty data file system of 10 MiB, reproducible byte for byte. It is created
# with twice the size and then shrunk, because mke2fs limits a journal to half of
# the file system.
: > no.conf
export MKE2FS_CONFIG="${STAGE}/no.conf" E2FSPROGS_FAKE_TIME=1
FEATURES="none,has_journal,ext_attr,dir_index,filetype,extent,64bit,meta_bg,flex_bg"
FEATURES="${FEATURES},sparse_super,large_file,huge_file,dir_nlink,extra_isize"
FEATURES="${FEATURES},metadata_csum,metadata_csum_seed,orphan_file"
EXTENDED="hash_seed=5c7d2f1e-83a6-4e0b-b1f9-0d6a94c3e812,root_owner=0:0"
EXTENDED="${EXTENDED},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
truncate -s 20M data.ext4
"${HOST_DIR}/sbin/mke2fs" -q -F -t ext4 -b 4096 -J size=8 -L data -m 1 -I 256 \
	-N 2048 -U b0a3f4c2-5d0e-4b57-9f43-6c1d8a2e7705 -O "${FEATURES}" \
	-E "${EXTENDED}" data.ext4
"${HOST_DIR}/sbin/resize2fs" -f data.ext4 2560
truncate -s 10M data.ext4
"${HOST_DIR}/sbin/e2fsck" -f -n data.ext4
rm no.conf

RELEASE=$(cat "${BUILD_DIR}"/linux-*/include/config/kernel.release)
VERSION=$("${HOST_DIR}/bin/hearth" --version | cut -d ' ' -f 2)
BUILT="${SOURCE_DATE_EPOCH:-$(date +%s)}"
cat > kit.json << EOF
{
  "format": 1,
  "board": "${BOARD}",
  "arch": "${ARCH}",
  "version": "${VERSION}",
  "kernel": "${RELEASE}",
  "built": ${BUILT}
}
EOF

set -- selector.efi stub.efi
if [ "${BOARD}" = rpi4 ]; then
	set -- firmware
fi

# kit.json comes first, so that readers find the kit's description at once.
LC_ALL=C tar --sort=name --mtime="@${BUILT}" --owner=0 --group=0 --numeric-owner \
	-cf - kit.json cmdline data.ext4 kernel.efi root \
	"$@" |
	"${HOST_DIR}/bin/zstd" -q -f -12 -o "${KIT}"
rm -rf "${STAGE}"
echo "post-image: ${KIT}"

MANIFEST=$(sed -n 's/^BR2_PACKAGE_HEARTH_MANIFEST="\(.*\)"$/\1/p' "${BR2_CONFIG}")
if [ -n "${MANIFEST}" ]; then
	"${HOST_DIR}/bin/hearth" image build --no-build --board "${BOARD}" --kit "${KIT}" \
		--manifest "${MANIFEST}" -o "${BINARIES_DIR}/edge.img"
else
	echo "post-image: no manifest is set (BR2_PACKAGE_HEARTH_MANIFEST);" \
		"hearth image build --kit ${KIT} makes an image with one"
fi
