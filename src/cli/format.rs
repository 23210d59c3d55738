//! Numbers and times for people: `12.3M`, `3min ago`, `2026-05-09 07:29:33 UTC`. Pure.

const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];

/// A size in IEC units, as systemd prints it: `512B`, `12.3M`, `1G`.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let step = (bytes.ilog2() / 10).min(6) as usize;
    let unit = 1u64 << (step * 10);
    let tenths = u128::from(bytes % unit) * 10 / u128::from(unit);
    match tenths {
        0 => format!("{}{}", bytes / unit, UNITS[step - 1]),
        _ => format!("{}.{tenths}{}", bytes / unit, UNITS[step - 1]),
    }
}

/// `part` of `whole` in per cent, rounded down.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(100)
}

/// A text without what no terminal should see.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A name as it can be shown: what no terminal should see, a backslash, and what is not UTF-8 written out.
pub(crate) fn name(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '"' => shown.push(c),
                c => shown.extend(c.escape_debug()),
            }
        }
        chunk.invalid().iter().for_each(|byte| shown += &format!("\\x{byte:02x}"));
    }
    shown
}

/// `1 entry`, `841 entries`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// How long before `now` it was: `just now`, `3min ago`, `2h 5min ago`, `4 days ago`, or `in 5min`.
pub(crate) fn ago(then: u64, now: u64) -> String {
    match now.checked_sub(then) {
        Some(0) => "just now".to_owned(),
        Some(past) => format!("{} ago", span(past)),
        None => format!("in {}", span(then - now)),
    }
}

/// A point in time in UTC, and how long ago it was.
pub(crate) fn when(then: u64, now: u64) -> String {
    format!("{}; {}", date(then), ago(then, now))
}

fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}min"),
        3600..86_400 if minutes % 60 == 0 => format!("{hours}h"),
        3600..86_400 => format!("{hours}h {}min", minutes % 60),
        _ => count(days, "day", "days"),
    }
}

/// `2026-05-09 07:29:33 UTC`. The calendar is Howard Hinnant's `civil_from_days`, for years after 1970.
pub(crate) fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carry;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (1536, "1.5K"),
            (12_900_000, "12.3M"),
            (1 << 30, "1G"),
            (u64::MAX, "15.9E"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(0, 0), 0);
    }

    #[test]
    fn names_do_not_drive_the_terminal() {
        assert_eq!(plain("/etc/\u{1b}[2J\nsecure: yes"), "/etc/\\u{1b}[2J\\nsecure: yes");
        assert_eq!(plain("/étc/x"), "/étc/x");
    }

    #[test]
    fn names_of_any_bytes() {
        assert_eq!(name(b"/it's \"x\""), "/it's \"x\"");
        assert_eq!(name(b"a\\x\xff\xc3\xa9\n"), "a\\\\x\\xffé\\n");
        assert_eq!(name("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn times() {
        let now = 10_000_000;
        let cases = [
            (0, "just now"),
            (5, "5s ago"),
            (180, "3min ago"),
            (7200, "2h ago"),
            (7500, "2h 5min ago"),
            (86_400, "1 day ago"),
            (400_000, "4 days ago"),
        ];
        for (before, text) in cases {
            assert_eq!(ago(now - before, now), text);
        }
        assert_eq!(ago(now + 300, now), "in 5min");
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_778_311_773), "2026-05-09 07:29:33 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
