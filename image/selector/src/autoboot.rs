//! `autoboot.txt`: the one place on a disk that says which slot boots, in the grammar of the Raspberry Pi's
//! firmware.
