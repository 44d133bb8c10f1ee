//! What the program says about itself.

use std::io::Read;
use std::process::Stdio;

use expect_test::expect;

use crate::program::{Scratch, outcome};

#[test]
fn wrong_usage_ends_with_2_and_points_to_help() {
    let scratch = Scratch::new("usage");
    for arguments in [
        &[][..],
        &["fence"],
        &["rnu", "vm.toml"],
        &["run"],
        &["fence", "vhost-user", "--listen", "a"],
        &["fence", "vhost-user", "--listen", "a", "--backend", "b", "--window", "16"],
        &["fence", "vhost-user", "--listen", "a", "--backend", "b", "--name", "../x"],
        &["completions", "tcsh"],
        &["man", "rnu"],
    ] {
        let outcome = outcome(&mut scratch.ringfence(arguments));
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
        assert!(!outcome.stderr.is_empty(), "{arguments:?}");
    }
    scratch.assert_nothing_left();
}

#[test]
fn help_and_version_are_data() {
    let scratch = Scratch::new("help");
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["help", "status"]] {
        let outcome = outcome(&mut scratch.ringfence(arguments));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(outcome.stdout.contains("ringfence"), "{arguments:?}: {}", outcome.stdout);
        assert!(!outcome.stdout.contains('\u{1b}'), "colours outside a terminal");
    }
}

#[test]
fn explain_explains_one_code_however_it_is_written() {
    let scratch = Scratch::new("explain");
    let say = |code: &str| outcome(&mut scratch.ringfence(&["explain", code]));
    let page = say("RF0402");
    expect![[r#"
        RF0402 unknown key

        The configuration has a key that means nothing where it stands.

        The configuration is strict: a key that is not known is an error, because a
        misspelt `window` that was silently ignored would leave a device with more
        memory than was meant. The nearest key that is not yet used is named. What keys
        a [[device]] has depends on its `kind`.

        What to do: Correct the key or take it out.
    "#]]
    .assert_eq(&page.stdout);
    for code in ["rf0402", "rf402", "402", "0402"] {
        assert_eq!(say(code).stdout, page.stdout, "{code}");
    }
}

#[test]
fn explain_names_the_codes_near_one_that_is_none() {
    let scratch = Scratch::new("explain-none");
    let number = outcome(&mut scratch.ringfence(&["explain", "RF0399"]));
    assert_eq!((number.code, number.stdout.as_str()), (Some(2), ""));
    expect![[r#"
        error: RF0416 unknown code: `RF0399`; near it are RF0401, RF0402, RF0403
          next: Run `ringfence explain` without a code to see them all. (`ringfence explain RF0416` says more)
    "#]]
    .assert_eq(&number.stderr);
    let word = outcome(&mut scratch.ringfence(&["explain", "\u{1b}[2Jwindow"]));
    assert_eq!(word.code, Some(2));
    assert!(word.stderr.contains("`window` is not written like one"), "{}", word.stderr);
}

#[test]
fn explain_names_the_causes_of_an_error_number_likeliest_first() {
    let scratch = Scratch::new("explain-errno");
    let page = outcome(&mut scratch.ringfence(&["explain", "eperm"]));
    assert_eq!(page.code, Some(0), "{}", page.stderr);
    let set_container = page.stdout.split("\n\n").find(|part| part.contains("SET_CONTAINER"));
    expect![[r#"
        VFIO_GROUP_SET_CONTAINER
          - A function of the group is bound to a driver of the host's. Claim the whole
            group: ringfence claim.
          - Somebody else holds the group: another VM, another container or another iommufd.
            End it, or give all functions of the group to one VM."#]]
    .assert_eq(set_container.expect("it answers that"));
    for arguments in [&["explain", "EBUSY", "--json"][..], &["explain", "RF0717", "--json"]] {
        crate::schema::check("explain", &outcome(&mut scratch.ringfence(arguments)).stdout);
    }
    let all = outcome(&mut scratch.ringfence(&["explain"]));
    assert!(all.stdout.contains("\nEBUSY  from open /dev/vfio/N; "), "{}", all.stdout);
    let other = outcome(&mut scratch.ringfence(&["explain", "ECHILD"]));
    assert_eq!(other.code, Some(2), "{}", other.stdout);
}

#[test]
fn explain_lists_every_crates_codes() {
    let scratch = Scratch::new("explain-all");
    let all = outcome(&mut scratch.ringfence(&["explain"]));
    assert_eq!(all.code, Some(0));
    for code in ["RF0101", "RF0201", "RF0301", "RF0401"] {
        assert!(all.stdout.lines().any(|line| line.starts_with(code)), "{code}: {}", all.stdout);
    }
}

#[test]
fn every_shell_has_a_completion_script_and_every_verb_a_page() {
    let scratch = Scratch::new("generate");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = outcome(&mut scratch.ringfence(&["completions", shell]));
        assert_eq!(script.code, Some(0));
        assert!(script.stdout.contains("vhost-user"), "{shell}");
    }
    for verb in [&["man"][..], &["man", "run"], &["man", "fence", "vhost-user"]] {
        let page = outcome(&mut scratch.ringfence(verb));
        assert_eq!(page.code, Some(0));
        let title = format!(
            ".TH {}",
            ["ringfence"].iter().chain(&verb[1..]).copied().collect::<Vec<_>>().join("-")
        );
        assert!(page.stdout.contains(&title), "no {title} in {}", page.stdout);
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let scratch = Scratch::new("pipe");
    for arguments in [&["explain"][..], &["explain", "--json"], &["completions", "bash"], &["man"]]
    {
        let mut child = scratch
            .ringfence(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("it is text");
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{arguments:?}: {stderr}");
        assert_eq!(stderr, "", "{arguments:?}");
    }
}

#[test]
fn colour_is_for_terminals_and_for_those_who_ask() {
    let scratch = Scratch::new("colour");
    let plain = outcome(&mut scratch.ringfence(&["explain", "x"]));
    assert!(!plain.stderr.contains('\u{1b}'), "{}", plain.stderr);
    let forced = outcome(scratch.ringfence(&["explain", "x"]).env("CLICOLOR_FORCE", "1"));
    assert!(forced.stderr.contains("\u{1b}["), "{}", forced.stderr);
    let mut both = scratch.ringfence(&["explain", "x"]);
    let neither = outcome(both.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1"));
    assert!(!neither.stderr.contains('\u{1b}'), "{}", neither.stderr);
}
