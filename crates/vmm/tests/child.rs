//! Children do not outlive us, whatever ends us or them.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use ringfence_refusal::Failure;
use ringfence_vmm::child::describe_exit;
use ringfence_vmm::{Child, Spec, become_child_if_asked};
use rustix::process::{Pid, Signal, kill_process};

type Outcome = Result<(), Failed>;

/// Long enough that a test which waits this long has failed, not been slow.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() {
    become_child_if_asked();
    if std::env::args().nth(1).as_deref() == Some("be-a-parent") {
        return be_a_parent();
    }
    let tests = vec![
        Trial::test("output_and_exit_code_arrive", output_and_exit_code_arrive),
        Trial::test("a_missing_program_is_refused_by_name", a_missing_program_is_refused_by_name),
        Trial::test("waiting_stops_at_the_deadline", waiting_stops_at_the_deadline),
        Trial::test("stop_asks_before_it_kills", stop_asks_before_it_kills),
        Trial::test("stop_kills_what_does_not_listen", stop_kills_what_does_not_listen),
        Trial::test("dropping_kills_the_whole_group", dropping_kills_the_whole_group),
        Trial::test("the_group_goes_with_its_leader", the_group_goes_with_its_leader),
        Trial::test("a_child_dies_with_a_killed_parent", a_child_dies_with_a_killed_parent),
        Trial::test("an_orphan_does_not_begin", an_orphan_does_not_begin),
        Trial::test("folder_and_variables_arrive", folder_and_variables_arrive),
        Trial::test("only_named_variables_are_inherited", only_named_variables_are_inherited),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn shell(script: &str) -> Spec {
    let mut spec = Spec::new("a shell", "sh").args(["-c", script]);
    spec.stdout = Stdio::piped();
    spec
}

fn first_line(child: &mut Child) -> Result<String, Failed> {
    let output = child.take_stdout().ok_or("the output is not a pipe")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Whether a process is gone or a zombie, waiting for that up to the deadline.
fn goes_away(pid: &str) -> Result<bool, Failed> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return Ok(true);
        };
        if stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(false)
}

fn check(condition: bool, otherwise: &str) -> Outcome {
    if condition { Ok(()) } else { Err(otherwise.into()) }
}

fn output_and_exit_code_arrive() -> Outcome {
    let mut child = Child::spawn(shell("echo hello; exit 3"))?;
    let mut output = String::new();
    child.take_stdout().ok_or("no pipe")?.read_to_string(&mut output)?;
    let status = child.wait_until(Instant::now() + DEADLINE)?.ok_or("it did not end")?;
    check(output == "hello\n", &output)?;
    check(status.code() == Some(3), &format!("{status}"))?;
    check(describe_exit(status) == "exit code 3", &describe_exit(status))?;
    check(child.try_wait()? == Some(status), "the second answer differs from the first")
}

fn a_missing_program_is_refused_by_name() -> Outcome {
    match Child::spawn(Spec::new("the backend of disk", "no-such-backend")) {
        Err(Failure::Refused(refusal)) => {
            let text = refusal.to_string();
            let begins = "RF0301 program not found: the backend of disk: no-such-backend: ";
            check(text.starts_with(begins), &text)
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn waiting_stops_at_the_deadline() -> Outcome {
    let mut child = Child::spawn(shell("echo up; exec sleep 1000"))?;
    first_line(&mut child)?;
    check(child.try_wait()?.is_none(), "it ended by itself")?;
    let deadline = Instant::now() + Duration::from_millis(20);
    check(child.wait_until(deadline)?.is_none(), "it ended by itself")?;
    check(Instant::now() >= deadline, "gave up before the deadline")
}

fn stop_asks_before_it_kills() -> Outcome {
    let script = "trap 'kill $!; exit 7' TERM; sleep 1000 & echo up; wait";
    let mut child = Child::spawn(shell(script))?;
    first_line(&mut child)?;
    let status = child.stop(DEADLINE)?;
    check(status.code() == Some(7), &format!("{status}"))
}

fn stop_kills_what_does_not_listen() -> Outcome {
    let mut child = Child::spawn(shell("trap '' TERM; echo up; while :; do sleep 1; done"))?;
    first_line(&mut child)?;
    let status = child.stop(Duration::from_millis(50))?;
    check(status.signal() == Some(9), &format!("{status}"))?;
    check(describe_exit(status) == "killed by signal 9 (SIGKILL)", &describe_exit(status))
}

fn dropping_kills_the_whole_group() -> Outcome {
    let mut child = Child::spawn(shell("sleep 1000 & echo $!; wait"))?;
    let grandchild = first_line(&mut child)?;
    let own = child.pid().to_string();
    drop(child);
    check(!Path::new(&format!("/proc/{own}")).exists(), "the child was not reaped")?;
    check(goes_away(&grandchild)?, "its own child outlived it")
}

fn the_group_goes_with_its_leader() -> Outcome {
    let mut child = Child::spawn(shell("sleep 1000 & echo $!"))?;
    let grandchild = first_line(&mut child)?;
    let status = child.wait_until(Instant::now() + DEADLINE)?.ok_or("it did not end")?;
    check(status.success(), &format!("{status}"))?;
    check(goes_away(&grandchild)?, "its own child outlived it")
}

/// Run in a process of its own: starts a child, says its id, and waits to be killed.
fn be_a_parent() {
    let mut spec = Spec::new("a sleeper", "sleep").args(["1000"]);
    spec.stdout = Stdio::null();
    let child = Child::spawn(spec).expect("sleep can be started");
    println!("{}", child.pid());
    std::thread::sleep(Duration::from_secs(1000));
}

fn a_child_dies_with_a_killed_parent() -> Outcome {
    let mut parent = Spec::new("a parent", std::env::current_exe()?).args(["be-a-parent"]);
    parent.stdout = Stdio::piped();
    // Without a group of its own, so that nothing but the parent-death signal can be what works.
    parent.new_process_group = false;
    let mut parent = Child::spawn(parent)?;
    let grandchild = first_line(&mut parent)?;
    check(Path::new(&format!("/proc/{grandchild}")).exists(), "it never lived")?;
    kill_process(parent.pid(), Signal::KILL)?;
    check(goes_away(&grandchild)?, "the child outlived its killed parent")
}

fn an_orphan_does_not_begin() -> Outcome {
    // What a child sees whose parent died before it began: another parent than it was told of.
    let stranger = Pid::INIT.as_raw_pid().to_string();
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["--ringfence-become-child", &stranger, "echo", "I began"])
        .output()?;
    check(output.stdout.is_empty(), "the program was started")?;
    check(output.status.code() == Some(126), &format!("{}", output.status))
}

fn folder_and_variables_arrive() -> Outcome {
    let mut spec = shell("echo $(pwd) $FENCE");
    spec.current_dir = Some("/proc".into());
    spec.env.push(("FENCE".into(), "up".into()));
    let mut child = Child::spawn(spec)?;
    let line = first_line(&mut child)?;
    check(line == "/proc up", &line)
}

fn only_named_variables_are_inherited() -> Outcome {
    let mut spec = Spec::new("env", "env");
    spec.stdout = Stdio::piped();
    spec.inherits = Some(&["PATH", "NOT_SET_ANYWHERE"]);
    spec.env.push(("RING".into(), "fence".into()));
    let mut child = Child::spawn(spec)?;
    let mut output = String::new();
    child.take_stdout().ok_or("no pipe")?.read_to_string(&mut output)?;
    check(std::env::vars_os().count() > 1, "there is nothing here to inherit")?;
    let mut names: Vec<_> = output.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    check(names == ["PATH", "RING"], &output)
}
