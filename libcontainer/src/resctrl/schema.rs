//! Lines of `schemata`: `L3:0=7ff;1=f`, where the kernel writes blanks around names and values.

/// Whether all that `line` asks for is in `schemata`.
pub(super) fn is_in(line: &str, schemata: &str) -> bool {
    let Some((resource, asked)) = parts(line) else { return false };
    let Some(has) = schemata.lines().filter_map(parts).find(|(name, _)| *name == resource) else {
        return false;
    };
    let value = |domain: &str| domains(has.1).find(|(other, _)| *other == domain);
    domains(asked).all(|(domain, wanted)| {
        value(domain).is_some_and(|(_, value)| same(resource, wanted, value))
    })
}

fn parts(line: &str) -> Option<(&str, &str)> {
    let (resource, domains) = line.split_once(':')?;
    Some((resource.trim(), domains))
}

fn domains(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.split(';').filter(|pair| !pair.trim().is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(a, b)| (a.trim(), b.trim()))
}

/// Bandwidth is a decimal number, everything else a mask of bits in hexadecimal.
fn same(resource: &str, one: &str, other: &str) -> bool {
    let radix = if resource == "MB" || resource == "SMBA" { 10 } else { 16 };
    let number = |text: &str| u128::from_str_radix(text.trim_start_matches("0x"), radix).ok();
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_compared_by_what_it_means() {
        let has = "    MB:0= 20;1=100\n    L3:0=7ff;1=00f\nL3CODE:0=1\n";
        for line in ["L3:0=7ff;1=f", "L3:1=0xF", "MB:0=20;1=100", " MB : 1=100 ", "L3CODE:0=01"] {
            assert!(is_in(line, has), "{line}");
        }
        for line in ["L3:0=7fe", "L3:2=f", "MB:0=020;1=10", "L2:0=f", "L3DATA:0=1", "x", "L3:0"] {
            assert!(!is_in(line, has), "{line}");
        }
    }
}
