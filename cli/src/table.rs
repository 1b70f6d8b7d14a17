//! Text in columns, and numbers in a form for people.

/// Spaces between two columns.
const GAP: &str = "  ";

/// The side on which a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Aligns rows in columns; the first row is the head. Leaves out columns that are empty below the head, and spaces at
/// the ends of lines.
pub(crate) fn lay_out(sides: &[Side], rows: &[Vec<String>]) -> Vec<String> {
    let columns: Vec<(usize, Side, usize)> = sides
        .iter()
        .enumerate()
        .filter(|(column, _)| rows.iter().skip(1).any(|row| !row[*column].is_empty()))
        .map(|(column, side)| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            (column, *side, widths.max().unwrap_or(0))
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = columns.iter().map(|(column, side, width)| {
            let cell = &row[*column];
            match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join(GAP);
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A size in the largest unit of which it has at least one.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / size as f64),
        None => format!("{bytes} B"),
    }
}

/// A duration in its two largest units.
pub(crate) fn time(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, millis % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A latency, rounded to about three digits.
pub(crate) fn latency(millis: f64) -> String {
    match millis {
        ..10.0 => format!("{millis:.2} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them_and_empty_ones_are_left_out() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["NAME", "ERROR", "COUNT"]),
            row(["a", "", "1"]),
            row(["longer", "", ""]),
        ];
        let sides = [Side::Left, Side::Left, Side::Right];
        let expect = ["NAME    COUNT", "a           1", "longer"];
        assert_eq!(lay_out(&sides, &rows), expect);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(8_022_016), "7.7 MiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(time(2_345), "2.3 s");
        assert_eq!(time(61_000), "1 min 1 s");
        assert_eq!(time(7_265_000), "2 h 1 min");
        assert_eq!(time(90_000_000), "1 d 1 h");
        assert_eq!(latency(0.046), "0.05 ms");
        assert_eq!(latency(123.4), "123 ms");
        assert_eq!(latency(2_500.0), "2.5 s");
    }
}
