//! Values of flags that are more than a word or a number.

use std::time::Duration;

/// Go's `time.ParseDuration`: `1h30m`, `1.5s`, `100ms`; a bare number is refused, 0 excepted.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("invalid duration {text:?}");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = None;
    while !rest.is_empty() {
        let number = leading(rest, |c| c.is_ascii_digit() || c == '.');
        let unit = leading(&rest[number.len()..], |c| !c.is_ascii_digit() && c != '.');
        rest = &rest[number.len() + unit.len()..];
        let seconds =
            number.parse::<f64>().map_err(|_| fault())? * unit_seconds(unit).ok_or_else(fault)?;
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| fault())?;
        total = Some(
            total.map_or(Some(part), |sum: Duration| sum.checked_add(part)).ok_or_else(fault)?,
        );
    }
    total.ok_or_else(fault)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-9),
        "us" | "µs" | "μs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    }
}

/// A number of bytes as `update --memory` takes it: `512`, `1.5G`, `64 MiB`, `100kb`; powers of
/// 1024. `-1` is no limit.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let fault = || format!("invalid size: '{text}'");
    let number = leading(text, |c| c.is_ascii_digit() || c == '.');
    let rest = &text[number.len()..];
    let unit = rest.strip_prefix(' ').unwrap_or(rest).to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(fault()),
    };
    let size = number.parse::<f64>().map_err(|_| fault())? * f64::from(1024).powi(power);
    // The cast of a float saturates: a limit too large for the kernel becomes its largest.
    Ok(size as i64)
}

fn leading(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !belongs(c)).unwrap_or(text.len())]
}

/// `uid[:gid]`, digits only: what is not a number must never end up as 0 (CVE-2026-30892).
pub(crate) fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    Ok((id(uid, "uid")?, gid.map(|gid| id(gid, "gid")).transpose()?))
}

fn id(text: &str, what: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fault = |why| format!("bad {what}: parsing {text:?}: {why}");
    if !digits {
        return Err(fault("invalid syntax"));
    }
    text.parse().map_err(|_| fault("value out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for text in ["", "5", "s", "5x", "-1s", ".", "1.2.3s", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, size) in [
            ("512", 512),
            ("1k", 1024),
            ("1.5K", 1536),
            ("64MiB", 64 << 20),
            ("2 gb", 2 << 30),
            ("5b", 5),
            ("-1", -1),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text:?}");
        }
        for text in ["", "x", "1x", "-2", "1 ib", "k", "1kk", "0x10", "1  k", "1e3"] {
            assert!(bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn users_are_numbers_or_refused() {
        assert_eq!(user("1"), Ok((1, None)));
        assert_eq!(user("01"), Ok((1, None)));
        assert_eq!(user("1:2"), Ok((1, Some(2))));
        assert_eq!(user("4294967295"), Ok((u32::MAX, None)));
        for text in ["", " 1", "1 ", "+1", "-1", "root", "4294967296", "1:", ":1", "1:2:3", "1: 2"]
        {
            assert!(user(text).is_err(), "{text:?}");
        }
    }
}
