//! The time and the randomness that the shell puts into objects.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring::default_provider;

/// Seconds since 1970.
pub(crate) fn now_secs() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// RFC 3339 in UTC, as `metav1.Time` is written: `2026-01-02T03:04:05Z`.
pub(crate) fn rfc3339(unix_secs: i64) -> String {
    let (days, second) = (unix_secs.div_euclid(86_400), unix_secs.rem_euclid(86_400));
    // Days since 0000-03-01, counted in eras of 400 years, so that leap days come last.
    let day = days + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

pub(crate) fn now() -> String {
    rfc3339(now_secs())
}

/// Bytes that nobody can foresee.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if default_provider().secure_random.fill(&mut bytes).is_err() {
        // Only where the kernel has no getrandom(2) and no /dev/urandom; time must do then.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        for (byte, time) in bytes.iter_mut().zip(now.to_le_bytes().into_iter().cycle()) {
            *byte = time;
        }
    }
    bytes
}

/// A random UUID (RFC 9562 §5.4).
pub(crate) fn uid() -> String {
    let mut bytes: [u8; 16] = random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A number below `bound`, close enough to evenly spread.
pub(crate) fn random_below(bound: u64) -> u64 {
    u64::from_le_bytes(random()) % bound.max(1)
}

/// Names longer than this lose their end before a suffix is put to them.
const MAX_GENERATED_BASE_BYTES: usize = 58;

/// What `generateName` asks for: the prefix and five letters that spell no word.
pub(crate) fn generate_name(prefix: &str) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let cut = prefix.floor_char_boundary(MAX_GENERATED_BASE_BYTES);
    let suffix = random::<5>().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    prefix[..cut].chars().chain(suffix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_kubernetes() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(secs), expected);
        }
    }

    #[test]
    fn names_and_uids() {
        let name = generate_name("web-");
        assert!(name.len() == 9 && name.starts_with("web-"));
        assert_eq!(generate_name(&"é".repeat(60)).chars().count(), 29 + 5);
        let uid = uid();
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"));
    }
}
