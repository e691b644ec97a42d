//! `docker build`: the classic builder, whose steps are containers, and BuildKit, which calls the
//! runtime by itself.

use std::process::{Command, Output, Stdio};

use e2e_docker::{Container, daemon, docker, host::Skip, place};

e2e_common::tests! {
    classic_builder
    classic_builder_tells_how_a_step_failed
    buildkit
    buildkit_tells_how_a_step_failed
}

/// The command of the second step runs as a user, in a directory, with an environment.
const DOCKERFILE: &str = "FROM box
RUN echo first > /first && chown 1000:1000 /tmp
USER user
WORKDIR /tmp
ENV NAME=value
RUN id -u > who && pwd > where && echo $NAME > name && test \"$(cat /first)\" = first
CMD [\"sh\", \"-c\", \"cat who where name\"]
";

/// Builds it, with the value of `DOCKER_BUILDKIT`: a client with buildx takes BuildKit by itself.
fn build(buildkit: &str, tag: &str, dockerfile: &str) -> Output {
    let place = daemon::shared().place();
    let file = place.file("Dockerfile");
    std::fs::write(&file, dockerfile).expect("a file");
    Command::new("timeout")
        .args(["300", place::CLIENT, "-H"])
        .arg(format!("unix://{}", place.socket().display()))
        .args(["build", "--force-rm", "--no-cache", "-t", tag, "-"])
        .env("DOCKER_BUILDKIT", buildkit)
        .stdin(Stdio::from(std::fs::File::open(&file).expect("a file")))
        .output()
        .expect("docker can be executed")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn has_buildkit() -> Result<(), Skip> {
    let output = build("1", "nothing", "FROM box\n");
    docker(&["rmi", "nothing"]);
    match said(&output) {
        words if words.contains("buildx") => {
            Err(Skip("this machine has no buildx, which talks to BuildKit".to_owned()))
        }
        _ => Ok(()),
    }
}

#[track_caller]
fn check(buildkit: &str, tag: &str) {
    let output = build(buildkit, tag, DOCKERFILE);
    assert!(output.status.success(), "{}", said(&output));
    let container = Container::named();
    let ran = docker(&["run", "--name", container.name(), tag]);
    docker(&["rm", container.name()]).ok();
    docker(&["rmi", tag]).ok();
    assert_eq!(ran.ok(), "1000\n/tmp\nvalue");
}

fn classic_builder() {
    check("0", "built-by-steps");
}

fn classic_builder_tells_how_a_step_failed() {
    let output = build("0", "never", "FROM box\nRUN exit 7\n");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(said(&output).contains("returned a non-zero code: 7"), "{}", said(&output));
}

fn buildkit() -> Result<(), Skip> {
    has_buildkit()?;
    check("1", "built-by-buildkit");
    Ok(())
}

fn buildkit_tells_how_a_step_failed() -> Result<(), Skip> {
    has_buildkit()?;
    let output = build("1", "never", "FROM box\nRUN echo said; exit 42\n");
    let words = said(&output);
    assert!(!output.status.success() && words.contains("42") && words.contains("said"), "{words}");
    Ok(())
}
