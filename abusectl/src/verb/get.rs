// SPDX-License-Identifier: MIT

//! `get [DEV]`: takes requests by hand, for whoever wants to see one or to serve a disk from a
//! shell script. They stay taken when the tool ends, until `put` or `requeue`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use abuse::{owner, Device, Request, Take};
use serde_json::Value;

use crate::choose::{self, Access, Dev, Want};
use crate::errno::EINTR;
use crate::failure::{Code, Failure};
use crate::parse::words;
use crate::table::{pretty, seconds, Object};
use crate::{human, out};

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A request stays taken until 'abusectl put DEV ID' completes it or 'abusectl requeue DEV --id ID'
offers it again. ABUSE_OWNER in the environment is the owner token it is taken under.")]
pub struct Args {
    #[command(flatten)]
    dev: Dev,
    /// Wait up to TIME for a request (exit code 124 when none came); not at all without it
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    timeout: Option<Duration>,
    /// Take up to N requests
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    count: u32,
    /// Save the data of writes here, one behind the other
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(short = 'J', long)]
    json: bool,
}

/// Takes requests and shows them.
pub fn run(args: &Args) -> Result<(), Failure> {
    let device = choose::open(args.dev.target.as_ref(), Want::SetUp, Access::Write)?;
    choose::set_up(&device)?;
    // Before anything is taken: what cannot be saved is better left to others.
    let mut file = match &args.data {
        Some(path) => {
            Some(File::create(path).map_err(|error| Failure::io(path.display(), &error))?)
        }
        None => None,
    };
    let requests = take(&device, args)?;
    if requests.is_empty() {
        return Err(nothing(&device, args.timeout));
    }
    let mut shown = Vec::new();
    let mut saved = Ok(());
    for request in requests {
        if let Some(file) = &mut file {
            saved = saved.and_then(|()| file.write_all(request.data()));
        }
        shown.push(fields(&request));
        // From here on only its id keeps it: an error below must not complete it.
        request.leave();
    }
    out::print(&match args.json {
        true => pretty(&Object(vec![(
            "requests".into(),
            shown.into_iter().map(Object).collect::<Vec<_>>(),
        )])),
        false => shown.iter().map(text).collect(),
    })?;
    saved.map_err(|error| {
        let path = args.data.clone().unwrap_or_default();
        Failure::io(path.display(), &error)
            .hint("The requests stay taken: put them, or requeue them and take them again.")
    })
}

fn take(device: &Device, args: &Args) -> Result<Vec<Request>, Failure> {
    let owner = match std::env::var_os(owner::VARIABLE) {
        Some(_) => owner::token()?,
        None => 0,
    };
    let deadline = Instant::now() + args.timeout.unwrap_or_default();
    loop {
        let taken = device.take(&Take {
            max: args.count,
            timeout: Some(deadline.saturating_duration_since(Instant::now())),
            owner,
            detached: true,
            ..Take::default()
        });
        match taken {
            Err(error) if error.errno() == Some(EINTR) => continue,
            other => return Ok(other?),
        }
    }
}

fn nothing(device: &Device, timeout: Option<Duration>) -> Failure {
    let name = device.control_path().display().to_string();
    match timeout {
        None => Failure::new(Code::Nothing, format!("{name}: no request is waiting"))
            .hint("Wait for one with --timeout TIME."),
        Some(time) => Failure::new(
            Code::TimedOut,
            format!("{name}: no request came in {}", human::age(time)),
        )
        .hint("Nobody uses the disk, or its workers take everything at once."),
    }
}

type Fields = Vec<(String, Value)>;

/// The id is text in JSON: numbers of 64 bits lose digits in most readers.
fn fields(request: &Request) -> Fields {
    [
        ("id", Value::from(format!("{:#x}", request.id()))),
        ("op", request.operation().name().into()),
        ("offset", request.offset().into()),
        ("sector", (request.offset() / 512).into()),
        ("length", request.length().into()),
        ("fua", request.fua().into()),
        ("keep_allocated", request.keep_allocated().into()),
        ("attempt", request.attempt().into()),
        ("epoch", request.epoch().into()),
        ("age", seconds(request.age()).into()),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into()
}

/// `key: value`, with an empty line behind each request.
fn text(fields: &Fields) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Bool(yes) => (if *yes { "yes" } else { "no" }).to_string(),
            other if name == "age" => human::age(
                Duration::try_from_secs_f64(other.as_f64().unwrap_or_default()).unwrap_or_default(),
            ),
            other => other.to_string(),
        };
        text.push_str(&format!("{name}: {shown}\n"));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_line_by_line() {
        let fields: Fields = vec![
            ("id".into(), "0x10".into()),
            ("length".into(), 4096.into()),
            ("fua".into(), true.into()),
            ("age".into(), 1.5.into()),
        ];
        assert_eq!(
            text(&fields),
            "id: 0x10\nlength: 4096\nfua: yes\nage: 1.5s\n\n"
        );
    }
}
