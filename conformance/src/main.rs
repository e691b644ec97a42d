//! `conformance`: judges the runtime in `RUNTIME` by the OCI runtime specification.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use conformance::{
    Statement,
    report::{self, Count, json, matrix, people, tap},
    runner::{self, Verdict},
    runtime_tools::{self, Ending},
    statements,
};
use integration::Runtime;

#[derive(Debug, Parser)]
#[command(name = "conformance", args_conflicts_with_subcommands = true)]
#[command(about = "Judges the container runtime in RUNTIME by the OCI runtime specification")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    judge: Judge,
}

#[derive(Debug, Args)]
struct Judge {
    /// Only statements whose id contains one of these
    filter: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::People)]
    format: Format,
    /// A statement that the runtime breaks on purpose: no failure, unless it holds after all
    #[arg(long, value_name = "ID")]
    deviates: Vec<String>,
    /// Print the statements and judge nothing
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Clone, Copy, Debug, Args)]
struct Limits {
    /// How many checks run at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
    /// Seconds after which a check counts as hung
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    People,
    Tap,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set several runtimes side by side, as a page of Markdown
    Matrix {
        /// Paths, or names in PATH
        #[arg(required = true)]
        runtimes: Vec<PathBuf>,
        /// Where to write the page, instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        limits: Limits,
    },
    /// Run the validation programs of OCI runtime-tools
    RuntimeTools {
        /// Where runtime-tools was built: DIRECTORY/validation/*/*.t
        directory: PathBuf,
        /// Seconds after which a program counts as hung
        #[arg(long, default_value_t = 60)]
        timeout: u64,
    },
    /// One check, in this process
    Case { id: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        None if arguments.judge.list => list(&arguments.judge.filter),
        None => judge(&arguments.judge),
        Some(Command::Case { id }) => case(id),
        Some(Command::Matrix { runtimes, out, limits }) => {
            compare(runtimes, out.as_deref(), *limits)
        }
        Some(Command::RuntimeTools { directory, timeout }) => {
            validate(directory, Duration::from_secs(*timeout))
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn case(id: &str) -> io::Result<bool> {
    let statement = statements::find(id);
    let statement = statement.ok_or_else(|| io::Error::other(format!("no statement {id}")))?;
    runner::case(statement);
    Ok(true)
}

fn selected(filter: &[String]) -> io::Result<Vec<&'static Statement>> {
    let wanted = |id: &str| filter.is_empty() || filter.iter().any(|part| id.contains(part));
    let found: Vec<_> = statements::all().filter(|statement| wanted(statement.id)).collect();
    if found.is_empty() {
        return Err(io::Error::other(format!(
            "no statement has {} in its id",
            filter.join(" or ")
        )));
    }
    Ok(found)
}

fn list(filter: &[String]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    for statement in selected(filter)? {
        let how = if statement.is_tested() { "test" } else { "untestable" };
        writeln!(out, "{:<11} {how:<10} {}", statement.level, statement.id)?;
    }
    Ok(true)
}

impl Limits {
    fn options(self, runtime: PathBuf) -> runner::Options {
        let Self { jobs, timeout } = self;
        runner::Options {
            runtime,
            jobs: jobs.into(),
            timeout: Duration::from_secs(timeout),
            deviates: Vec::new(),
            spare: 0,
        }
    }
}

/// True when the runtime is compliant.
fn judge(arguments: &Judge) -> io::Result<bool> {
    let statements = selected(&arguments.filter)?;
    let tested: Vec<_> = statements.iter().copied().filter(|s| s.is_tested()).collect();
    let runtime = Runtime::program_from_env();
    let again = env::var("RTN_AGAIN").ok().and_then(|number| number.parse().ok());
    let options = runner::Options {
        deviates: arguments.deviates.clone(),
        spare: again.unwrap_or(0),
        ..arguments.limits.options(runtime.clone())
    };
    let mut told = Ok(());
    if arguments.format == Format::Tap {
        tap::plan(&mut io::stdout(), tested.len())?;
    }
    let mut number = 0;
    let verdicts = runner::run(&tested, &options, |statement, verdict| {
        number += 1;
        let out = &mut io::stdout().lock();
        let line = match arguments.format {
            Format::People => people::line(out, statement, verdict),
            Format::Tap => tap::line(out, number, statement, verdict),
            Format::Json => Ok(()),
        };
        told = std::mem::replace(&mut told, Ok(())).and(line);
    });
    told?;
    let held = held_after_all(&arguments.deviates, &tested, &verdicts);
    let deviates = |statement: &Statement| arguments.deviates.iter().any(|id| id == statement.id);
    let known = tested.iter().filter(|statement| deviates(statement)).count();
    let count = Count::of(tested.into_iter().zip(&verdicts));
    match arguments.format {
        Format::People => people::summary(&mut io::stdout(), count)?,
        Format::Tap => {}
        Format::Json => print_json(&statements, &runtime, &verdicts)?,
    }
    held.iter().for_each(|id| eprintln!("conformance: {id} is no deviation any more"));
    Ok(held.is_empty() && count.failed == known)
}

/// Those of `ids` that the runtime does not break.
fn held_after_all<'a>(
    ids: &'a [String],
    tested: &[&Statement],
    verdicts: &[Verdict],
) -> Vec<&'a str> {
    let broken = |id: &str| {
        let mut judged = tested.iter().zip(verdicts);
        judged.any(|(statement, verdict)| {
            statement.id == id && matches!(verdict, Verdict::Fail { .. })
        })
    };
    let chosen = |id: &str| tested.iter().any(|statement| statement.id == id);
    ids.iter().map(String::as_str).filter(|id| chosen(id) && !broken(id)).collect()
}

fn print_json(
    statements: &[&'static Statement],
    runtime: &Path,
    verdicts: &[Verdict],
) -> io::Result<()> {
    let (program, version) = (runtime.display().to_string(), report::version(runtime));
    let document = json::Document::new(program, version, statements, verdicts);
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &document)?;
    writeln!(out)
}

fn compare(runtimes: &[PathBuf], out: Option<&Path>, limits: Limits) -> io::Result<bool> {
    let statements = selected(&[])?;
    let tested: Vec<_> = statements.iter().copied().filter(|s| s.is_tested()).collect();
    let mut columns = Vec::new();
    for runtime in runtimes {
        let program = Runtime::find(runtime);
        let verdicts = runner::run(&tested, &limits.options(program.clone()), |_, _| {});
        let count = Count::of(tested.iter().copied().zip(&verdicts));
        let column = matrix::Column::new(&program, verdicts);
        eprint!("{}: ", column.name);
        people::summary(&mut io::stderr(), count)?;
        columns.push(column);
    }
    let page = matrix::page(&statements, &columns);
    match out {
        Some(file) => fs::write(file, page)?,
        None => io::stdout().write_all(page.as_bytes())?,
    }
    Ok(true)
}

/// True when every program passed.
fn validate(directory: &Path, limit: Duration) -> io::Result<bool> {
    let (programs, runtime) = (runtime_tools::programs(directory)?, Runtime::program_from_env());
    let directory = directory.canonicalize()?;
    let [mut passed, mut failed, mut hung] = [0; 3];
    for program in programs {
        let program = program.canonicalize()?;
        let (ending, tap) = runtime_tools::run(&program, &directory, &runtime, limit)?;
        let name = program.strip_prefix(directory.join("validation")).unwrap_or(&program).display();
        match ending {
            Ending::Pass => {
                passed += 1;
                println!("pass     {name}: {} ok, {} skipped", tap.passed, tap.skipped);
            }
            Ending::Fail(fault) => {
                failed += 1;
                println!("FAIL     {name}: {} ok, {} not: {fault}", tap.passed, tap.failed.len());
            }
            Ending::Timeout => {
                hung += 1;
                println!("timeout  {name}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, {hung} did not end");
    Ok(failed + hung == 0)
}
