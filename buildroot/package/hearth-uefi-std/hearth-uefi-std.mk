################################################################################
#
# hearth-uefi-std
#
################################################################################

# Rust's library for UEFI, which Buildroot's own rust-bin does not install. From
# the same place and of the same version, since it must fit that compiler: with
# another Buildroot the hash is another.
HOST_HEARTH_UEFI_STD_VERSION = $(RUST_BIN_VERSION)
HOST_HEARTH_UEFI_STD_SITE = $(RUST_BIN_SITE)
HOST_HEARTH_UEFI_STD_SOURCE = rust-std-$(RUST_BIN_VERSION)-$(BR2_ARCH)-unknown-uefi.tar.xz
HOST_HEARTH_UEFI_STD_LICENSE = Apache-2.0 or MIT
HOST_HEARTH_UEFI_STD_DEPENDENCIES = host-rustc

define HOST_HEARTH_UEFI_STD_INSTALL_CMDS
	cd $(@D) && ./install.sh --prefix=$(HOST_DIR) --disable-ldconfig
endef

$(eval $(host-generic-package))
