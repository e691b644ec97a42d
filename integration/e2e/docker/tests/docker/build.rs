//! `docker build` with BuildKit, which calls the runtime by itself. The steps of the classic builder
//! are containers like any other.

use std::process::{Command, Output, Stdio};

use e2e_docker::{cli, daemon, docker, host::Skip};

e2e_common::tests! {
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

/// Builds it with BuildKit.
fn build(tag: &str, dockerfile: &str) -> Output {
    let place = daemon::shared().place();
    let file = place.file("Dockerfile");
    std::fs::write(&file, dockerfile).expect("a file");
    Command::new("timeout")
        .args(["300", cli::CLIENT, "-H"])
        .arg(format!("unix://{}", place.socket().display()))
        .args(["build", "--no-cache", "-t", tag, "-"])
        .env("DOCKER_BUILDKIT", "1")
        .stdin(Stdio::from(std::fs::File::open(&file).expect("a file")))
        .output()
        .expect("docker can be executed")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn has_buildkit() -> Result<(), Skip> {
    let output = build("nothing", "FROM box\n");
    docker(&["rmi", "nothing"]);
    match said(&output) {
        words if words.contains("buildx") => {
            Err(Skip("this machine has no buildx, which talks to BuildKit".to_owned()))
        }
        _ => Ok(()),
    }
}

fn buildkit() -> Result<(), Skip> {
    has_buildkit()?;
    let output = build("built-by-buildkit", DOCKERFILE);
    assert!(output.status.success(), "{}", said(&output));
    let ran = docker(&["run", "--rm", "built-by-buildkit"]).ok();
    docker(&["rmi", "built-by-buildkit"]).ok();
    assert_eq!(ran, "1000\n/tmp\nvalue");
    Ok(())
}

fn buildkit_tells_how_a_step_failed() -> Result<(), Skip> {
    has_buildkit()?;
    let output = build("never", "FROM box\nRUN echo said; exit 42\n");
    let words = said(&output);
    assert!(!output.status.success() && words.contains("42") && words.contains("said"), "{words}");
    Ok(())
}
