//! Messages of programs, made comparable.

/// The words of a message with one blank between them, without the times that loggers put in:
/// `time="2026-01-31T10:00:00Z"`, `2026-01-31T10:00:00.123Z:`.
pub fn without_times(message: &str) -> String {
    let is_time = |word: &&str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.matches(':').count() >= 2 && word.contains('T') && digits >= 14
    };
    message.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_and_everything_else_stays() {
        let runc = "time=\"2026-01-31T10:00:00Z\" level=error msg=\"no  such\nthing\"";
        assert_eq!(without_times(runc), "level=error msg=\"no such thing\"");
        assert_eq!(without_times("2026-01-31T10:00:00.123456Z: a:b:c"), "a:b:c");
    }
}
