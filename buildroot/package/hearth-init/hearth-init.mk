################################################################################
#
# hearth-init
#
################################################################################

HEARTH_INIT_SITE = $(BR2_EXTERNAL_HEARTH_PATH)/..
HEARTH_INIT_SITE_METHOD = local
HEARTH_INIT_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude target
HEARTH_INIT_LICENSE = MIT or Apache-2.0
HEARTH_INIT_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
HEARTH_INIT_PRE_CONFIGURE_HOOKS += HEARTH_FETCH_CRATES
HEARTH_INIT_CARGO_ENV = $(HEARTH_CARGO_ENV)
HEARTH_INIT_CARGO_BUILD_OPTS = --package hearth-init --bins

define HEARTH_INIT_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/hearth-init \
		$(TARGET_DIR)/init
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/hearth-net \
		$(TARGET_DIR)/bin/hearth-net
endef

$(eval $(cargo-package))
