//! Times as text: Date (RFC 3261 §20.17), which is GMT and written at most once a second, and RFC 3339.

use crate::time::Now;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The text of the current second.
#[derive(Debug)]
pub(crate) struct Date {
    second: u64,
    text: [u8; 29],
}

impl Date {
    pub(crate) fn new(now: Now) -> Self {
        let second = now.unix_ms() / 1000;
        Self { second, text: write(second) }
    }

    /// The value of a Date header field for `now`.
    pub(crate) fn at(&mut self, now: Now) -> &[u8] {
        let second = now.unix_ms() / 1000;
        if second != self.second {
            *self = Self::new(now);
        }
        &self.text
    }
}

/// `Sat, 13 Nov 2010 23:29:00 GMT`
fn write(second: u64) -> [u8; 29] {
    let (days, in_day) = (second / 86_400, second % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Www, DD Mmm YYYY hh:mm:ss GMT";
    text[..3].copy_from_slice(DAYS[(days % 7) as usize].as_bytes());
    text[8..11].copy_from_slice(MONTHS[month as usize - 1].as_bytes());
    let two_digits = [
        (5, day),
        (12, year / 100 % 100),
        (14, year % 100),
        (17, in_day / 3600),
        (20, in_day / 60 % 60),
        (23, in_day % 60),
    ];
    for (at, number) in two_digits {
        text[at] = b'0' + (number / 10) as u8;
        text[at + 1] = b'0' + (number % 10) as u8;
    }
    text
}

/// A time in seconds since the Unix epoch as RFC 3339 has it: `2010-11-13T23:29:00Z`.
pub fn rfc3339(unix_s: u64) -> String {
    let (days, in_day) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a count of days since 1970-01-01 in the Gregorian calendar, by eras of 400 years that
/// begin in March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_5_6_times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_289_690_940), "2010-11-13T23:29:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
    }

    #[test]
    fn rfc3261_20_17_dates() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_289_690_940, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            let mut date = Date::new(Now::from_unix_ms(0));
            assert_eq!(std::str::from_utf8(date.at(Now::from_unix_ms(second * 1000 + 999))).unwrap(), text);
        }
    }
}
