//! Which program is being judged.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Whose ways the runtime has; decides what a test may expect beyond the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rtn,
    Runc,
    Crun,
    Other,
}

/// The runtime under test.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub program: PathBuf,
    pub kind: Kind,
    /// Major and minor.
    pub version: (u32, u32),
}

impl Runtime {
    /// `RUNTIME`, or this workspace's own `rtn`.
    pub fn from_env() -> &'static Self {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        RUNTIME.get_or_init(|| {
            let program = Self::program_from_env();
            let about = Command::new(&program).arg("--version").output();
            let about = about.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
            let about = about.unwrap_or_default();
            Self { kind: kind(&program, &about), version: version(&about), program }
        })
    }

    /// The program alone; it is not run.
    pub fn program_from_env() -> PathBuf {
        env::var_os("RUNTIME").map_or_else(own_build, |name| Self::find(Path::new(&name)))
    }

    /// A path as it is, a name from `PATH`; panics when there is no such file.
    pub fn find(name: &Path) -> PathBuf {
        if name.components().count() > 1 {
            return name
                .canonicalize()
                .unwrap_or_else(|e| panic!("RUNTIME={}: {e}", name.display()));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
        found.unwrap_or_else(|| panic!("RUNTIME={}: not in PATH", name.display()))
    }

    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }
}

/// `rtn` in the release directory of the target directory that this test was built in.
fn own_build() -> PathBuf {
    let test = env::current_exe().expect("this program has a path");
    let target = test.ancestors().find(|d| d.join("CACHEDIR.TAG").exists()).expect("a target dir");
    let program = target.join("x86_64-unknown-linux-gnu/release/rtn");
    assert!(
        program.exists(),
        "{} is missing: cargo build --release --target x86_64-unknown-linux-gnu -p rtn, or set RUNTIME",
        program.display()
    );
    program
}

/// From the first word of `--version`; a runtime may call itself something else there for the sake
/// of its callers, so the file's name counts first.
fn kind(program: &Path, about: &str) -> Kind {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = [name.as_str(), about];
    let kinds = [("rtn", Kind::Rtn), ("runc", Kind::Runc), ("crun", Kind::Crun)];
    names
        .iter()
        .find_map(|text| kinds.iter().find(|(word, _)| text.starts_with(word)))
        .map_or(Kind::Other, |(_, kind)| *kind)
}

/// The two numbers of `runc version 1.3.6`.
fn version(about: &str) -> (u32, u32) {
    let words = about.split_whitespace().skip_while(|word| *word != "version");
    let mut numbers = words.skip(1).flat_map(|word| word.split(['.', '-', '+']));
    let mut number = || numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    (number(), number())
}
