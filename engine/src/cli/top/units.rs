//! Numbers in as few letters as a column has.

/// A count, or a count a second: up to four digits as they are, then three with k, M, G or T.
pub(super) fn amount(value: f64) -> String {
    if value < 9.95 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    if value < 9999.5 {
        return format!("{value:.0}");
    }
    let units = ["k", "M", "G", "T"];
    let mut scaled = value / 1000.0;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let digits = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.digits$}{}", units[unit])
}

/// A time in µs.
pub(super) fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us}µs"),
        1000..1_000_000 => format!("{:.1}ms", us as f64 / 1e3),
        _ => format!("{:.1}s", us as f64 / 1e6),
    }
}

/// A share of 0 to 1.
pub(super) fn percent(share: f64) -> String {
    let hundredths = share * 100.0;
    let digits = usize::from(hundredths < 9.95 && hundredths > 0.0);
    format!("{hundredths:.digits$}%")
}

/// How long it has run, in whole seconds.
pub(super) fn uptime(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let rest = format!("{:02}:{:02}:{:02}", hours, seconds / 60 % 60, seconds % 60);
    if days > 0 { format!("{days}d {rest}") } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.4, "0.4"),
            (7.0, "7"),
            (9.97, "10"),
            (9999.4, "9999"),
            (9999.6, "10.0k"),
            (123_456.0, "123k"),
            (999_600.0, "1.00M"),
            (14_880_952.0, "14.9M"),
            (2.5e15, "2500T"),
        ] {
            assert_eq!(amount(value), text);
        }
    }

    #[test]
    fn times_have_their_unit() {
        let texts = [999, 1000, 12_345, 2_500_000].map(time);
        assert_eq!(texts, ["999µs", "1.0ms", "12.3ms", "2.5s"]);
        assert_eq!([59, 3661, 90_061].map(uptime), ["00:00:59", "01:01:01", "1d 01:01:01"]);
        assert_eq!(
            [0.0, 0.004, 0.0997, 0.125, 1.0].map(percent),
            ["0%", "0.4%", "10%", "12%", "100%"]
        );
    }
}
