//! `plan`: where a VM's memory may lie on a host, and what its VMM must be told.

use std::path::Path;

use anyhow::Context;
use ringfence_plan::Plan;
use ringfence_plan::emit::{Consumer, Emitted, Surroundings, emit};
use ringfence_refusal::Refusal;
use ringfence_vmm::qemu::Boot;

use crate::cli;
use crate::exit::Exit;
use crate::placement::{Answer, Asked, difference, table};
use crate::{picture, talk};

/// The largest kernel image or initial ramdisk that is read to tell the guest of its map.
const IMAGE_BYTES_MAX: u64 = 1 << 30;

pub(crate) fn run(arguments: &cli::Plan) -> anyhow::Result<Exit> {
    let asked = Asked::read(&arguments.vm, &arguments.from)?;
    let answer = asked.plan();
    if let Some(other) = &arguments.diff {
        return diff(arguments, &answer, other);
    }
    for memory in &asked.memories {
        for remark in &memory.remarks {
            talk::say(talk::printable(remark));
        }
    }
    let form = if arguments.json { Some("json") } else { arguments.consumer.as_deref() };
    if form == Some("json") {
        let machine = asked.vm.placing.machine.to_string();
        talk::json(&Answer::new(machine, &answer))?;
        return Ok(if answer.is_ok() { Exit::Ok } else { Exit::No });
    }
    let plan = match &answer {
        Ok(plan) => plan,
        Err(refusals) => return refuse(refusals),
    };
    match form {
        None => talk::data(&table(plan))?,
        Some("svg") => talk::data(&picture::map(plan, &asked.memories, &asked.vm.name))?,
        Some(name) => tell(arguments, &asked, plan, name)?,
    }
    Ok(Exit::Ok)
}

/// Every refusal with its remedy.
fn refuse(refusals: &[Refusal]) -> anyhow::Result<Exit> {
    for refusal in refusals {
        talk::say(format_args!("refused: {}", talk::printable(&refusal.to_string())));
        talk::say(format_args!("  {}", refusal.remedy()));
    }
    Ok(Exit::No)
}

/// Tells one consumer the plan, and writes the files it needs.
fn tell(arguments: &cli::Plan, asked: &Asked, plan: &Plan, name: &str) -> anyhow::Result<()> {
    let consumer: Consumer = name.parse().map_err(|()| anyhow::anyhow!("no consumer {name}"))?;
    let kernel = match &asked.vm.boot {
        Boot::Linux { kernel, .. } if !plan.settings.keep_off.is_empty() => Some(read(kernel)?),
        _ => None,
    };
    let initrd = match &asked.vm.boot {
        Boot::Linux { initrd: Some(initrd), .. } if plan.viommu.is_some() => Some(read(initrd)?),
        _ => None,
    };
    let folder = match &arguments.out {
        Some(folder) => Some(std::path::absolute(folder)?.to_string_lossy().into_owned()),
        None => None,
    };
    let around = Surroundings {
        folder: folder.as_deref(),
        kernel: kernel.as_deref(),
        initrd: initrd.as_deref(),
    };
    let Emitted { text, files, notes } = emit(plan, around, consumer)?;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        for file in &files {
            let path = folder.join(file.name);
            std::fs::write(&path, &file.bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    } else if !files.is_empty() {
        let names: Vec<_> = files.iter().map(|file| file.name).collect();
        talk::say(format_args!("not written without --out: {}", names.join(", ")));
    }
    talk::data(&text)?;
    for risk in &plan.risks {
        talk::say(format_args!("at risk: {}", talk::printable(&risk.text)));
    }
    for note in notes {
        talk::say(note);
    }
    Ok(())
}

fn read(image: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(image)
        .and_then(|file| file.take(IMAGE_BYTES_MAX).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", image.display()))?;
    Ok(bytes)
}

/// What differs from the plan on another host, or of another VM.
fn diff(
    arguments: &cli::Plan,
    answer: &Result<Plan, Vec<Refusal>>,
    other: &Path,
) -> anyhow::Result<Exit> {
    let is_vm = other.extension().is_some_and(|extension| extension == "toml");
    let asked = if is_vm {
        Asked::read(other, &arguments.from)?
    } else {
        Asked::read(&arguments.vm, &[other.to_owned()])?
    };
    let lines = match (answer, asked.plan()) {
        (Ok(plan), Ok(other)) => difference(&other, plan),
        (Ok(_), Err(refusals)) => {
            vec![format!("refused there ({}), planned here", codes(&refusals))]
        }
        (Err(refusals), Ok(_)) => {
            vec![format!("planned there, refused here ({})", codes(refusals))]
        }
        (Err(here), Err(there)) if codes(here) == codes(&there) => Vec::new(),
        (Err(here), Err(there)) => {
            vec![format!("refused there ({}) and here ({})", codes(&there), codes(here))]
        }
    };
    for line in &lines {
        talk::data(&format!("{line}\n"))?;
    }
    if lines.is_empty() {
        talk::say("nothing differs");
    }
    Ok(if lines.is_empty() { Exit::Ok } else { Exit::No })
}

fn codes(refusals: &[Refusal]) -> String {
    let texts: Vec<_> = refusals.iter().map(|one| talk::printable(&one.to_string())).collect();
    texts.join("; ")
}
