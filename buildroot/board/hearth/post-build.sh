#!/bin/sh
# Looks at what has been built before it becomes a kit: all of it is static,
# and nothing is there that nobody has asked for.
set -eu

TARGET="$1"
# The toolchain's, whatever it calls the processor.
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
