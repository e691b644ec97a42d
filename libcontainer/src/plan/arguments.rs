//! How much execve(2) takes: what is more would be refused as "argument list too long", without a
//! word about which.

use oci_spec::runtime::{self as oci, PosixRlimitType};

use crate::error::Error;

/// MAX_ARG_STRLEN of linux/binfmts.h, with the NUL.
const TEXT_MAX: usize = 128 << 10;

/// Three quarters of the usual stack, and a quarter of a smaller one, but always this much
/// (fs/exec.c, `bprm_stack_limits`).
const TOTAL_MAX: u64 = 6 << 20;
const TOTAL_MIN: u64 = 128 << 10;

/// One argument or variable, at the JSON path `at`.
pub(super) fn check_text(at: &str, text: &str, faults: &mut Vec<Error>) {
    if text.len() >= TEXT_MAX {
        let what = format!(
            "invalid string: {} bytes, and the kernel takes one shorter than {TEXT_MAX}",
            text.len()
        );
        faults.push(Error::config(at, what).hint("execve(2): pass a file instead"));
    }
}

/// The environment's variables, and all together.
pub(super) fn check(process: &oci::Process, faults: &mut Vec<Error>) {
    for (index, variable) in process.env().iter().flatten().enumerate() {
        check_text(&format!("process.env[{index}]"), variable, faults);
    }
    let texts = process.args().iter().flatten().chain(process.env().iter().flatten());
    // With its NUL, and the pointer to it.
    let total: u64 = texts.map(|text| text.len() as u64 + 1 + 8).sum();
    let limit = total_max(process);
    if total > limit {
        let what = format!(
            "invalid environment: with the arguments it takes {total} bytes, and the kernel takes {limit}"
        );
        let hint = "execve(2): a quarter of RLIMIT_STACK, but not more than 6 MiB";
        faults.push(Error::config("process.env", what).hint(hint));
    }
}

fn total_max(process: &oci::Process) -> u64 {
    let is_stack = |limit: &&oci::PosixRlimit| limit.typ() == PosixRlimitType::RlimitStack;
    let stack = process.rlimits().iter().flatten().find(is_stack);
    stack.map_or(TOTAL_MAX, |stack| (stack.soft() / 4).clamp(TOTAL_MIN, TOTAL_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &str, stack: Option<u64>) -> Vec<String> {
        let rlimits = stack.map(|soft| {
            format!(r#","rlimits":[{{"type":"RLIMIT_STACK","soft":{soft},"hard":{soft}}}]"#)
        });
        let rlimits = rlimits.unwrap_or_default();
        let process = format!(r#"{{"user":{{}},"cwd":"/",{arguments}{rlimits}}}"#);
        let mut faults = Vec::new();
        check(&serde_json::from_str(&process).unwrap(), &mut faults);
        faults.iter().map(|fault| fault.spec_path().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_variable_at_the_limit() {
        let env =
            |length: usize| format!(r#""args":["a"],"env":["A=1","{}"]"#, "B=".repeat(length / 2));
        assert_eq!(told(&env(TEXT_MAX - 2), None), Vec::<String>::new());
        assert_eq!(told(&env(TEXT_MAX), None), ["process.env[1]"]);
    }

    #[test]
    fn all_together_at_the_limit() {
        let env = |count: usize| {
            format!(r#""env":["{}"]"#, vec!["A=345678901234567890123"; count].join(r#"",""#))
        };
        let (whole, tenth) = (6 << 20 >> 5, 600 << 10 >> 5);
        assert_eq!(told(&env(whole), None), Vec::<String>::new());
        assert_eq!(told(&env(whole + 1), None), ["process.env"]);
        assert_eq!(told(&env(whole), Some(8 << 20)), ["process.env"]);
        assert_eq!(told(&env(tenth), Some(2400 << 10)), Vec::<String>::new());
        assert_eq!(told(&env(tenth), Some(1 << 20)), ["process.env"]);
        assert_eq!(told(&env(1000), Some(1)), Vec::<String>::new());
    }
}
