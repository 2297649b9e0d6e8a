//! Ages as `kubectl` shows them, by the rules of `k8s.io/apimachinery/pkg/util/duration`.

use serde_json::Value;

/// The time since an RFC 3339 timestamp; `<unknown>` where there is none.
pub(super) fn since(timestamp: &Value, now_secs: i64) -> String {
    match timestamp.as_str().and_then(unix_secs) {
        Some(then) => human_duration(now_secs - then),
        None => "<unknown>".to_owned(),
    }
}

/// `2m30s`, `3h`, `5d`: about two significant digits.
pub(super) fn human_duration(secs: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    // A clock that is a second apart is no reason for an error.
    if secs < -1 {
        return "<invalid>".to_owned();
    }
    if secs < 0 {
        return "0s".to_owned();
    }
    let two = |big: i64, unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match secs {
        _ if secs < 2 * MINUTE => format!("{secs}s"),
        _ if secs < 10 * MINUTE => two(secs / MINUTE, 'm', secs % MINUTE, 's'),
        _ if secs < 3 * HOUR => format!("{}m", secs / MINUTE),
        _ if secs < 8 * HOUR => two(secs / HOUR, 'h', secs % HOUR / MINUTE, 'm'),
        _ if secs < 2 * DAY => format!("{}h", secs / HOUR),
        _ if secs < 8 * DAY => two(secs / DAY, 'd', secs % DAY / HOUR, 'h'),
        _ if secs < 2 * 365 * DAY => format!("{}d", secs / DAY),
        _ if secs < 8 * 365 * DAY => two(secs / DAY / 365, 'y', secs / DAY % 365, 'd'),
        _ => format!("{}y", secs / DAY / 365),
    }
}

/// The Unix seconds of an RFC 3339 timestamp; a fraction of a second is dropped.
pub(crate) fn unix_secs(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok().map(i64::from);
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let bytes = text.as_bytes();
    if separators.iter().any(|(at, sign)| bytes.get(*at).map(u8::to_ascii_uppercase) != Some(*sign))
    {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let mut rest = text.get(19..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit())?;
        if end == 0 {
            return None;
        }
        rest = &fraction[end..];
    }
    let offset_secs = offset_secs(rest)?;
    let secs_of_day = hour * 3600 + minute * 60 + second;
    Some(days_since_epoch(year, month, day) * 86_400 + secs_of_day - offset_secs)
}

/// The offset from UTC at the end of a timestamp: `Z` or `+02:00`.
fn offset_secs(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then(|| sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March so that
/// the leap day is the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_become_seconds() {
        for (text, secs) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-23T04:00:00Z", 1_795_406_400),
            ("2026-11-23T06:00:00.123456+02:00", 1_795_406_400),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(unix_secs(text), Some(secs), "{text}");
        }
        for text in [
            "",
            "2026-11-23",
            "2026-13-01T00:00:00Z",
            "2026-11-23T04:00:00",
            "2025-02-29T00:00:00Z",
            "2026-11-23T04:00:00.Z",
            "2026-11-23T04:00:00+2:00",
            "äöü",
        ] {
            assert_eq!(unix_secs(text), None, "{text}");
        }
    }

    #[test]
    fn durations_have_about_two_digits() {
        for (secs, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (49 * 3600, "2d1h"),
            (9 * 86400, "9d"),
            (800 * 86400, "2y70d"),
            (3000 * 86400, "8y"),
        ] {
            assert_eq!(human_duration(secs), text, "{secs}");
        }
    }
}
