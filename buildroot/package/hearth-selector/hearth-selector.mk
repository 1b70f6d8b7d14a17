################################################################################
#
# hearth-selector
#
################################################################################

HEARTH_SELECTOR_SITE = $(BR2_EXTERNAL_HEARTH_PATH)/..
HEARTH_SELECTOR_SITE_METHOD = local
HEARTH_SELECTOR_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude target
HEARTH_SELECTOR_LICENSE = MIT or Apache-2.0
HEARTH_SELECTOR_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
HEARTH_SELECTOR_DEPENDENCIES = host-hearth-uefi-std
HEARTH_SELECTOR_PRE_CONFIGURE_HOOKS += HEARTH_FETCH_CRATES
HEARTH_SELECTOR_INSTALL_TARGET = NO
HEARTH_SELECTOR_INSTALL_IMAGES = YES

HEARTH_SELECTOR_TARGET = $(BR2_ARCH)-unknown-uefi

# Firmware programs cannot unwind, so a panic aborts. The linker flags make the
# build reproducible: without them, the file would contain the time or a hash
# that depends on the build directory.
HEARTH_SELECTOR_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="s" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_PANIC="abort" \
	CARGO_TARGET_$(call UPPERCASE,$(HEARTH_SELECTOR_TARGET))_RUSTFLAGS="-Clink-arg=/Brepro -Clink-arg=/DEBUG:NONE"

HEARTH_SELECTOR_CARGO_BUILD_OPTS = \
	--package hearth-selector \
	--bins \
	--features firmware \
	--target $(HEARTH_SELECTOR_TARGET)

define HEARTH_SELECTOR_INSTALL_IMAGES_CMDS
	$(foreach program,selector stub, \
		$(INSTALL) -D -m 0644 \
			$(@D)/target/$(HEARTH_SELECTOR_TARGET)/release/$(program).efi \
			$(BINARIES_DIR)/$(program).efi
	)
endef

$(eval $(cargo-package))
