//! Chooses the block of free memory that a file is read into. Pure; a block is an address and a number of pages.

/// Memory below 1 MiB is for processor startup and legacy firmware interfaces.
const LOWEST: u64 = 1 << 20;

/// Drivers of the firmware get no buffers above 4 GiB: many disk controllers read nothing or garbage into such
/// addresses.
pub const TOP: u64 = 1 << 32;

/// Returns the largest of these free blocks, without its part above [`TOP`]. A page has `page` bytes.
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
        // The part of a block above the limit is cut off.
        let across = (TOP - (2000 << 12), 5000);
        assert_eq!(of(&[middle, across, high]), Some((across.0, 2000)));
        let end = (TOP - (10 << 12), 1 << 30);
        assert_eq!(of(&[middle, end]), Some(middle));
        assert_eq!(of(&[low, high]), None);
        assert_eq!(of(&[(u64::MAX, u64::MAX)]), None);
    }
}
