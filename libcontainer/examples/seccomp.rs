//! Shows the filter of a config.json: `cargo run --release --example seccomp -- CONFIG [--list]`
//! prints its summary and how long it takes to compile, and with `--list` the program.

use libcontainer::{
    seccomp::{self, Instruction},
    spec::LinuxSeccomp,
};
use std::{env, error::Error, fs, hint::black_box, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let path = args.next().ok_or("usage: seccomp CONFIG [--list]")?;
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
    let profile: LinuxSeccomp = serde_json::from_value(config["linux"]["seccomp"].take())?;
    let mut faults = Vec::new();
    let Some(filter) = seccomp::compile(&profile, false, &mut faults) else {
        return Err(format!("{faults:#?}").into());
    };
    println!("{}", serde_json::to_string_pretty(&filter)?);
    let mut times: Vec<_> = (0..1000).map(|_| time(&profile)).collect();
    let first = times[0];
    times.sort_unstable();
    println!("first {first} ns, median {} ns, p90 {} ns", times[500], times[900]);
    if args.next().is_some() {
        filter.program.iter().enumerate().for_each(|(at, instruction)| print(at, instruction));
    }
    Ok(())
}

fn time(profile: &LinuxSeccomp) -> u128 {
    let start = Instant::now();
    black_box(seccomp::compile(black_box(profile), false, &mut Vec::new()));
    start.elapsed().as_nanos()
}

fn print(at: usize, &Instruction { code, jt, jf, k }: &Instruction) {
    let to = |offset: u8| at + 1 + usize::from(offset);
    match code {
        0x20 => println!("{at:4}  load [{k}]"),
        0x54 => println!("{at:4}  and {k:#x}"),
        0x06 => println!("{at:4}  return {k:#x}"),
        0x05 => println!("{at:4}  goto {}", at + 1 + k as usize),
        _ => {
            let test = match code {
                0x15 => "==",
                0x25 => ">",
                _ => ">=",
            };
            println!("{at:4}  if {test} {k:#x} goto {} else {}", to(jt), to(jf));
        }
    }
}
