################################################################################
#
# hearth-uefi-std
#
################################################################################

# Rust's standard library for UEFI, which Buildroot's rust-bin does not install.
# It must have the version of Buildroot's compiler, so it comes from the same
# site. Another release of Buildroot needs another hash.
HOST_HEARTH_UEFI_STD_VERSION = $(RUST_BIN_VERSION)
HOST_HEARTH_UEFI_STD_SITE = $(RUST_BIN_SITE)
HOST_HEARTH_UEFI_STD_SOURCE = rust-std-$(RUST_BIN_VERSION)-$(BR2_ARCH)-unknown-uefi.tar.xz
HOST_HEARTH_UEFI_STD_LICENSE = Apache-2.0 or MIT
HOST_HEARTH_UEFI_STD_DEPENDENCIES = host-rustc

define HOST_HEARTH_UEFI_STD_INSTALL_CMDS
	cd $(@D) && ./install.sh --prefix=$(HOST_DIR) --disable-ldconfig
endef

$(eval $(host-generic-package))
