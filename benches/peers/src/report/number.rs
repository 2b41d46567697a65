//! Numbers as people read them.

/// Three digits that count, thousands set apart.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    if 0 < digits {
        return format!("{value:.0$}", digits.min(3) as usize);
    }
    let step = 10_f64.powi(-digits);
    let whole = format!("{:.0}", (value / step).round() * step);
    let mut parts: Vec<_> = whole.as_bytes().rchunks(3).map(|part| String::from_utf8_lossy(part)).collect();
    parts.reverse();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let cases =
            [(0.0123, "0.012"), (1.234, "1.23"), (45.67, "45.7"), (456.7, "457"), (12_345.0, "12,300")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(1_234_567.0), "1,230,000");
    }
}
