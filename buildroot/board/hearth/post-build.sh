#!/bin/sh
# Checks the target directory before it becomes a kit: all programs must be
# installed and static, and BusyBox must be absent.
set -eu

TARGET="$1"
# The toolchain's readelf. Its prefix depends on the processor.
set -- "${HOST_DIR}"/bin/*-linux-*-readelf
READELF="$1"

for program in init bin/hearth bin/hearth-cell bin/hearth-net usr/sbin/e2fsck; do
	if [ ! -x "${TARGET}/${program}" ]; then
		echo "post-build: ${program} has not been installed" >&2
		exit 1
	fi
	if "${READELF}" -l "${TARGET}/${program}" | grep -q INTERP; then
		echo "post-build: ${program} is not static (BR2_STATIC_LIBS)" >&2
		exit 1
	fi
done

if [ -e "${TARGET}/bin/busybox" ]; then
	echo "post-build: BusyBox is no part of the appliance" >&2
	exit 1
fi
