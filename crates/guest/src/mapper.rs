//! Maps memory of its own for a group of a lab's host, by VFIO's type 1, where it is told.
//!
//! `mapper GROUP SPAN…` maps at the spans; `mapper GROUP` at those of a plan (`ringfence plan --json` on
//! standard input) where memory of the VM's lies. It prints what the kernel says can be mapped, and a
//! line for each span that was.

use std::process::ExitCode;

use ringfence_addr::{Iova, Rights, Span};
use ringfence_iommu::{Memory, Type1};

/// What is mapped at once. All pieces are the same memory: what counts is where the kernel lets it be
/// mapped, and a small machine has not as much as a VM.
const PIECE_BYTES: u64 = 8 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match obey(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("mapper: {message}");
            ExitCode::FAILURE
        }
    }
}

fn obey(arguments: &[String]) -> Result<(), String> {
    let (group, spans) = arguments.split_first().ok_or("which group?")?;
    let group = group.parse::<u32>().map_err(|error| format!("{group}: {error}"))?;
    let spans = if spans.is_empty() { planned()? } else { spans.to_vec() };
    let error = |error: ringfence_refusal::Failure| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let mut container = Type1::open("/".as_ref(), &[group]).map_err(error)?;
    let apertures = container.apertures().ok_or("the kernel does not say what can be mapped")?;
    println!("can be mapped: {apertures}");
    let bytes = usize::try_from(PIECE_BYTES).map_err(|error| error.to_string())?;
    let memory = Memory::new(bytes).map_err(|fault| fault.to_string())?;
    let mut mapped = Vec::new();
    for text in spans {
        let span: Span<Iova> = text.parse().map_err(|_| format!("{text} is no span"))?;
        let mut rest = Some(span);
        while let Some(left) = rest {
            let length = left.length_u64().map_or(PIECE_BYTES, |all| all.get().min(PIECE_BYTES));
            let piece = Span::from_parts(left.first(), length).ok_or("no piece")?;
            container.map(piece, &memory, Rights::READ_WRITE).map_err(error)?;
            mapped.push(piece);
            rest = left.minus(&piece)[1];
        }
        println!("mapped {span}");
    }
    for piece in mapped {
        container.unmap(piece).map_err(error)?;
    }
    Ok(())
}

/// Where a plan has memory of the VM's.
fn planned() -> Result<Vec<String>, String> {
    let plan: serde_json::Value =
        serde_json::from_reader(std::io::stdin()).map_err(|error| error.to_string())?;
    let map = plan["map"].as_array().ok_or("a plan without a map")?;
    let backed = map.iter().filter(|entry| entry["backed"] == true);
    let end = |entry: &serde_json::Value, key: &str| entry[key].as_str().map(str::to_owned);
    backed
        .map(|entry| Some(format!("{}-{}", end(entry, "first")?, end(entry, "last")?)))
        .collect::<Option<_>>()
        .ok_or_else(|| "an entry without ends".to_owned())
}
