//! Which piece of free memory a file is read into. Pure; pieces are an address and a count of pages.

/// What is below belongs to the processor's start and to old ways into firmware.
const LOWEST: u64 = 1 << 20;

/// Firmware's drivers are asked for nothing above, where many a disk's controller reads nothing, or garbage.
pub const TOP: u64 = 1 << 32;

/// The largest of these free pieces, as far as it lies below [`TOP`]. A page has `page` bytes.
pub fn largest(pieces: impl Iterator<Item = (u64, u64)>, page: u64) -> Option<(u64, u64)> {
    pieces
        .filter(|(start, _)| *start >= LOWEST)
        .map(|(start, count)| (start, count.min(TOP.saturating_sub(start) / page)))
        .filter(|(_, count)| *count > 0)
        .max_by_key(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_below_four_gibibytes_and_above_what_is_the_processors() {
        let of = |pieces: &[(u64, u64)]| largest(pieces.iter().copied(), 4096);
        let (low, middle, high) = ((0, 160), (1 << 20, 1000), (TOP, 1 << 20));
        assert_eq!(of(&[low, middle, high]), Some(middle));
        // What reaches beyond is cut.
        let across = (TOP - (2000 << 12), 5000);
        assert_eq!(of(&[middle, across, high]), Some((across.0, 2000)));
        let end = (TOP - (10 << 12), 1 << 30);
        assert_eq!(of(&[middle, end]), Some(middle));
        assert_eq!(of(&[low, high]), None);
        assert_eq!(of(&[(u64::MAX, u64::MAX)]), None);
    }
}
