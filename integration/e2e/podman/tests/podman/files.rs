//! Volumes, mounts, secrets, and the root filesystem.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use e2e_podman::{Container, IDLE, IMAGE, Place, Skip, excuses, host, podman, run};

e2e_common::tests! {
    volume_is_written_by_the_container
    volume_read_only
    volume_with_a_label_does_no_harm
    volume_is_given_to_the_user_of_the_container
    volume_with_an_overlay_keeps_the_host_clean
    volume_id_mapped
    volume_with_flags_and_propagation
    named_volume_is_filled_from_the_image
    mount_of_every_type
    tmpfs_with_and_without_a_copy_of_what_it_covers
    root_read_only
    secret_as_a_file_and_in_the_environment
    devices_of_the_runtime
    copy_into_and_out_of_a_container
    commit_and_export
}

/// A new directory with a file in it.
fn data(name: &str) -> String {
    let directory = Place::shared().directory(name);
    fs::write(Path::new(&directory).join("file"), "data").expect("a file");
    directory
}

fn volume_is_written_by_the_container() {
    let directory = data("written");
    let volume = format!("{directory}:/v");
    assert_eq!(run(&["-v", &volume], &["sh", "-c", "cat /v/file; echo new >/v/new"]).ok(), "data");
    assert_eq!(fs::read_to_string(Path::new(&directory).join("new")).unwrap_or_default(), "new\n");
}

fn volume_read_only() {
    let directory = data("read-only");
    let volume = format!("{directory}:/v:ro");
    let output = run(&["-v", &volume], &["sh", "-c", "cat /v/file; echo new >/v/new"]);
    output.code(1).fails("read-only file system");
    assert_eq!(output.out(), "data");
}

fn volume_with_a_label_does_no_harm() {
    let volume = format!("{}:/v:z", data("labelled"));
    assert_eq!(run(&["-v", &volume], &["cat", "/v/file"]).ok(), "data");
}

fn volume_is_given_to_the_user_of_the_container() {
    let directory = data("given");
    let volume = format!("{directory}:/v:U");
    let owner = run(&["-v", &volume, "--user", "33"], &["stat", "-c", "%u", "/v/file"]);
    assert_eq!(owner.ok(), "33");
    // Back, so that the user can remove it.
    run(&["-v", &format!("{directory}:/v:U")], &["true"]).ok();
}

fn volume_with_an_overlay_keeps_the_host_clean() {
    let directory = data("covered");
    let volume = format!("{directory}:/v:O");
    let told = run(&["-v", &volume], &["sh", "-c", "echo new >/v/new; ls /v"]);
    assert_eq!(told.ok(), "file\nnew");
    assert!(!Path::new(&directory).join("new").exists());
}

fn volume_id_mapped() -> Result<(), Skip> {
    excuses("runc", "1.1 does not know id-mapped mounts")?;
    e2e_podman::needs_root()?;
    let directory = data("mapped");
    let volume = format!("{directory}:/v:idmap");
    let flags = ["-v", &volume, "--uidmap", "0:10000:1000", "--gidmap", "0:10000:1000"];
    let told = run(&flags, &["sh", "-c", "stat -c %u /v/file; echo new >/v/new"]);
    assert_eq!(told.ok(), "0");
    let new = fs::metadata(Path::new(&directory).join("new")).expect("it was written");
    assert_eq!((new.uid(), new.gid()), (0, 0));
    Ok(())
}

fn volume_with_flags_and_propagation() {
    let volume = format!("{}:/v:noexec,nosuid,nodev,rslave", data("flags"));
    let container = Container::start(&["-v", &volume], IDLE);
    let mount = host::mount_on(container.pid(), "/v");
    for option in ["noexec", "nosuid", "nodev"] {
        assert!(mount.has(option), "{option}: {mount:?}");
    }
    assert!(!mount.propagation.iter().any(|it| it.starts_with("shared:")), "{mount:?}");
}

fn named_volume_is_filled_from_the_image() {
    let volume = format!("filled-{}:/home", std::process::id());
    assert_eq!(run(&["-v", &volume], &["ls", "/home"]).ok(), "user");
    podman(&["volume", "rm", volume.split(':').next().unwrap_or_default()]).ok();
}

fn mount_of_every_type() {
    let directory = data("mounted");
    let kinds = [
        (format!("type=bind,src={directory},dst=/m,ro,bind-propagation=rprivate"), "ro"),
        ("type=tmpfs,dst=/m,tmpfs-size=1m,tmpfs-mode=0700".to_owned(), "size=1024k"),
        ("type=ramfs,dst=/m".to_owned(), "rw"),
        ("type=devpts,dst=/m".to_owned(), "rw"),
        (format!("type=image,src={IMAGE},dst=/m"), "ro"),
        ("type=volume,dst=/m".to_owned(), "rw"),
    ];
    for (mount, option) in kinds {
        let container = Container::start(&["--mount", &mount], IDLE);
        let seen = host::mount_on(container.pid(), "/m");
        assert!(seen.has(option), "{mount}: {seen:?}");
    }
    let glob = format!("type=glob,src={directory}/f*,dst=/globbed");
    assert_eq!(run(&["--mount", &glob], &["cat", "/globbed/file"]).ok(), "data");
}

fn tmpfs_with_and_without_a_copy_of_what_it_covers() {
    assert_eq!(run(&["--tmpfs", "/home:mode=700"], &["ls", "/home"]).ok(), "user");
    let bare = ["--mount", "type=tmpfs,dst=/home,notmpcopyup"];
    assert_eq!(run(&bare, &["ls", "/home"]).ok(), "");
    let sized = run(&["--tmpfs", "/t:size=1m,mode=700"], &["stat", "-f", "-c", "%b", "/t"]);
    assert_eq!(sized.ok(), "256");
}

fn root_read_only() {
    let script = "touch /tmp/x /run/x /dev/shm/x && ! touch /x";
    run(&["--read-only"], &["sh", "-c", script]).code(0).err().contains("Read-only file system");
    let none = ["--read-only", "--read-only-tmpfs=false"];
    run(&none, &["touch", "/tmp/x"]).code(1).fails("read-only file system");
    let container = Container::start(&["--read-only"], IDLE);
    assert!(host::mount_on(container.pid(), "/").has("ro"));
}

fn secret_as_a_file_and_in_the_environment() {
    let name = format!("secret-{}", std::process::id());
    let source = Place::shared().file(&name);
    fs::write(&source, "hidden").expect("a file");
    podman(&["secret", "create", &name, &source.to_string_lossy()]).ok();
    let file = run(&["--secret", &name], &["cat", &format!("/run/secrets/{name}")]);
    let variable = format!("{name},type=env,target=TOLD");
    let environment = run(&["--secret", &variable], &["sh", "-c", "echo $TOLD"]);
    podman(&["secret", "rm", &name]).ok();
    assert_eq!((file.ok(), environment.ok()), ("hidden".to_owned(), "hidden".to_owned()));
}

fn devices_of_the_runtime() {
    let told = run(
        &[],
        &[
            "sh",
            "-c",
            "cd /dev; for n in null zero full random urandom tty; do test -c $n || echo $n; done; for n in fd stdin ptmx; do readlink $n; done",
        ],
    );
    assert_eq!(told.ok(), "/proc/self/fd\n/proc/self/fd/0\npts/ptmx");
}

fn copy_into_and_out_of_a_container() {
    let container = Container::start(&[], IDLE);
    let file = format!("{}/file", data("copied"));
    podman(&["cp", &file, &format!("{}:/tmp/in", container.name())]).ok();
    assert_eq!(container.exec(&[], &["cat", "/tmp/in"]).ok(), "data");
    podman(&["cp", &format!("{}:/etc/passwd", container.name()), &file]).ok();
    assert!(fs::read_to_string(&file).unwrap_or_default().contains("/home/user"));
}

fn commit_and_export() {
    let (container, _) = Container::ran(&[], &["touch", "/made"]);
    assert!(podman(&["diff", container.name()]).ok().contains("A /made"));
    podman(&["commit", "-q", container.name(), "committed"]).ok();
    podman(&["run", "--rm", "committed", "test", "-e", "/made"]).ok();
    podman(&["rmi", "committed"]).ok();
}
