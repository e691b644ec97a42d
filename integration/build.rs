//! Builds `probe`, which runs inside containers that hold nothing else: it has to be static
//! whatever target and flags the tests themselves are built with, so it is a build of its own.

use std::{env, path::PathBuf, process::Command};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("probe");
    // Asked when this runs: a target directory may have been copied from another checkout.
    let here =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args(["build", "--quiet", "--release", "--target", TARGET, "--manifest-path"])
        .arg(here.join("probe/Cargo.toml"))
        .args(["--bin", "probe"])
        .arg("--target-dir")
        .arg(&out)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "building probe failed: {status}");
    let program = out.join(TARGET).join("release/probe");
    println!("cargo::rustc-env=PROBE={}", program.display());
    println!("cargo::rerun-if-changed=probe");
    println!("cargo::rerun-if-changed=../Cargo.lock");
}
