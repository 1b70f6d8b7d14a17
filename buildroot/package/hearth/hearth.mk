################################################################################
#
# hearth
#
################################################################################

HEARTH_SITE = $(BR2_EXTERNAL_HEARTH_PATH)/..
HEARTH_SITE_METHOD = local
HEARTH_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude target
HEARTH_LICENSE = MIT or Apache-2.0
HEARTH_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

# Programs that post-image.sh needs to make the kit and the image.
HEARTH_DEPENDENCIES = host-hearth host-e2fsprogs host-zstd

# A working copy has no vendored crates. The crates of Cargo.lock are fetched
# once, into the directory where the offline build finds them.
define HEARTH_FETCH_CRATES
	cd $(@D) && PATH=$(BR_PATH) $(PKG_COMMON_CARGO_ENV) cargo fetch --locked
endef
HEARTH_PRE_CONFIGURE_HOOKS += HEARTH_FETCH_CRATES
HOST_HEARTH_PRE_CONFIGURE_HOOKS += HEARTH_FETCH_CRATES

# Optimize the appliance's programs for size.
HEARTH_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="s" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1"

HEARTH_CARGO_BUILD_OPTS = --package hearth --bins
HOST_HEARTH_CARGO_BUILD_OPTS = --package hearth --bin hearth

define HEARTH_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/hearth \
		$(TARGET_DIR)/bin/hearth
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/hearth-cell \
		$(TARGET_DIR)/bin/hearth-cell
endef

define HOST_HEARTH_INSTALL_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/release/hearth $(HOST_DIR)/bin/hearth
endef

$(eval $(cargo-package))
$(eval $(host-cargo-package))
