//! Ways out of a jail. Each is tried twice by this very program: outside, where it must succeed, and
//! inside, where it must fail. A way that cannot be gone even outside, for want of rights or of
//! something in the kernel, shows nothing: it is listed as ignored and does not count.

mod jail;
mod sibling;
mod ways;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::jail::Ground;
use crate::sibling::Sibling;

/// How many ways must count, whoever runs this.
const WAYS_MIN: usize = 20;

/// Trying a way out from inside.
type Attempt = fn(&Ground, &str) -> Result<(), String>;

/// A test of the jail itself.
type Test = fn(&Ground) -> Result<(), Failed>;

fn main() -> ExitCode {
    ringfence_jail::become_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["be-jailed", program, ref rest @ ..] => jail::become_jailed(program, rest),
        ["be-the-sibling", folder] => sibling::be(folder),
        ["try", way, sibling] => ways::attempt(way, sibling),
        ["try-as-a-fence", way, sibling] => jail::attempt_as_a_fence(way, sibling),
        _ => tests(),
    }
}

fn tests() -> ExitCode {
    let arguments = Arguments::from_args();
    let ground = Arc::new(Ground::new().expect("a folder and a sibling"));
    let mut trials = Vec::new();
    let mut counting = 0;
    for way in ways::all() {
        let outside = ground.try_outside(way);
        let counts = outside.is_ok();
        counting += usize::from(counts);
        if let Err(reason) = &outside {
            eprintln!("not possible outside either, so it does not count: {way}: {reason}");
        }
        let kinds: [(&str, Attempt); 2] = [
            ("no_way_out", Ground::try_inside_whole),
            ("no_way_out_of_a_fence", Ground::try_as_a_fence),
        ];
        for (kind, attempt) in kinds {
            let ground = Arc::clone(&ground);
            let trial =
                Trial::test(format!("{kind}: {way}"), move || match attempt(&ground, way) {
                    Err(_) => Ok(()),
                    Ok(()) => Err(Failed::from("it got out")),
                });
            trials.push(trial.with_ignored_flag(!counts));
        }
    }
    eprintln!("{counting} of {} ways count for this user on this kernel", ways::all().count());
    trials.push(Trial::test("enough_ways_count", move || {
        if counting >= WAYS_MIN {
            Ok(())
        } else {
            Err(format!("only {counting} of the ways could be shown to succeed outside").into())
        }
    }));
    let others: [(&str, Test); 7] = [
        (
            "a_host_without_namespaces_is_done_without",
            jail::a_host_without_namespaces_is_done_without,
        ),
        ("what_is_granted_can_be_used", jail::what_is_granted_can_be_used),
        ("what_ends_the_program_is_passed_on", jail::what_ends_the_program_is_passed_on),
        ("nothing_outlives_the_program", jail::nothing_outlives_the_program),
        ("what_is_required_and_missing_is_refused", jail::what_is_required_and_missing_is_refused),
        ("a_jailed_program_finds_its_jail", jail::a_jailed_program_finds_its_jail),
        ("without_namespaces_the_rest_holds", jail::without_namespaces_the_rest_holds),
    ];
    for (name, test) in others {
        let ground = Arc::clone(&ground);
        trials.push(Trial::test(name, move || test(&ground)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(ground);
    conclusion.exit_code()
}

/// What a sibling says about itself, as a word of a command line.
fn decode(text: &str) -> Sibling {
    serde_json::from_str(text).expect("what the sibling said")
}
