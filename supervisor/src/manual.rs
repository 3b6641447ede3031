// SPDX-License-Identifier: MIT
//! `man DIR` and `completions SHELL`, hidden: what `make install` installs beside the
//! program. The pages are made of the same text as `--help`, so that they cannot
//! differ from it.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::Cli;
use crate::config::{kind, Kind};
use crate::exit::Failure;
use crate::terms::Terms;

/// Writes abuse-supervisor.8, one page per verb, and abuse-supervisor.toml.5.
pub fn write(dir: &Path) -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![(
        "abuse-supervisor.8".to_owned(),
        page(&command, "abuse-supervisor")?,
    )];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = format!("abuse-supervisor-{}", verb.get_name());
        pages.push((format!("{name}.8"), page(verb, &name)?));
    }
    pages.push(("abuse-supervisor.toml.5".to_owned(), file_format()?));
    for (name, text) in pages {
        let path = dir.join(&name);
        std::fs::write(&path, text).with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(())
}

/// The script with which a shell completes command lines.
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "abuse-supervisor", &mut script);
    match shell {
        // It takes the hyphen of our name for the beginning of a verb in some places and not in others.
        clap_complete::Shell::Bash => String::from_utf8_lossy(&script)
            .replace("abuse__subcmd__supervisor", "abuse__supervisor")
            .into_bytes(),
        _ => script,
    }
}

fn page(command: &Command, name: &str) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    render(command, name, &mut out).context("a page")?;
    Ok(out)
}

fn render(command: &Command, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone());
    let source = concat!("abuse-supervisor ", env!("CARGO_PKG_VERSION"));
    // A date that is empty would have the next word take its place.
    let man = man.title(name).section("8").date(" ").source(source);
    let man = man.manual("ABUSE");
    man.render_title(out)?;
    man.render_name_section(out)?;
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    writeln!(out, ".SH SYNOPSIS\n.nf\n{}\n.fi", escape(usage))?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    let after = command.get_after_help().map(ToString::to_string);
    let after = after.unwrap_or_default();
    let titled = |block: &'_ str| match block.split_once(':') {
        Some(("Exit status", text)) => ("EXIT STATUS", text.trim().to_owned()),
        Some(("Signals", text)) => ("SIGNALS", text.trim().to_owned()),
        _ => ("NOTES", block.trim().to_owned()),
    };
    let blocks = after.split("\n\n").filter(|text| !text.is_empty());
    let blocks: Vec<(&str, String)> = blocks.map(titled).collect();
    for title in ["NOTES", "SIGNALS", "EXIT STATUS"] {
        let of_it = blocks.iter().filter(|(other, _)| *other == title);
        let text: Vec<String> = of_it.map(|(_, text)| escape(text)).collect();
        if !text.is_empty() {
            writeln!(out, ".SH {title}\n{}", text.join("\n.PP\n"))?;
        }
    }
    if command.has_subcommands() {
        writeln!(out, "{}", PLACES.trim_end())?;
    }
    let also = [
        ("abuse-supervisor.toml", 5),
        ("abusectl", 8),
        ("systemd", 1),
    ];
    let also = also.map(|(name, section)| format!("\\fB{}\\fP({section})", escape(name)));
    writeln!(out, ".SH SEE ALSO\n{}", also.join(", "))
}

/// The page of the configuration file: its keys are the options of `run`.
fn file_format() -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let write = |out: &mut Vec<u8>| -> io::Result<()> {
        writeln!(out, "{}", FILE.trim_end())?;
        for option in Terms::augment_args(Command::new("")).get_arguments() {
            let key = option.get_long().unwrap_or_default();
            let help = option
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let default = option.get_default_values().first();
            let default = default.map_or(String::new(), |value| {
                format!(" [default: {}]", value.to_string_lossy())
            });
            let kind = match kind(key) {
                Kind::Number => "a number".to_owned(),
                Kind::Text(example) => format!("text, as in \"{}\"", escape(example)),
            };
            writeln!(out, ".TP\n\\fB{}\\fP = {kind}", escape(key))?;
            writeln!(
                out,
                "{}",
                escape(&format!("{help}{default}").replace("--", ""))
            )?;
        }
        writeln!(out, "{}", EXAMPLE.trim_end())
    };
    write(&mut out).context("the page of the file")?;
    Ok(out)
}

/// What the page of the program says besides: how it is used, and where everything is.
const PLACES: &str = r#".SH EXAMPLES
One device, two workers and a standby, until SIGTERM:
.PP
.nf
abuse\-supervisor run \-\-device /dev/abctl0 \-\-setup size=1G \-\-workers 2 \-\-standby 1 \e
    \-\-heartbeat 10s \-\-request\-timeout 30s \-\- \e
    abusectl server {ctl} \-\-backend file:/srv/a.img
.fi
.PP
All devices of a file, at boot; then after each edit of it:
.PP
.nf
systemctl enable \-\-now abuse\-supervisor
abuse\-supervisor check && abuse\-supervisor reload
.fi
.PP
How it stands, and what became of the workers of a device:
.PP
.nf
abuse\-supervisor status
journalctl ABUSE_DEVICE=abctl0 ABUSE_EVENT=died
.fi
.SH FILES
.TP
/etc/abuse/supervisor.toml, /etc/abuse/early.toml
Devices of abuse\-supervisor.service, and of abuse\-supervisor\-early.service, which begins before local
file systems are mounted
.TP
/run/abuse
Locks, what a later supervisor must know of each worker, and the sockets over which it is asked
.SH ENVIRONMENT
.TP
NOTIFY_SOCKET, WATCHDOG_USEC
Of the service manager, which is told READY=1, RELOADING=1, STOPPING=1, STATUS= and WATCHDOG=1
.PP
A worker is given:
.TP
NOTIFY_SOCKET, WATCHDOG_USEC
Where to say READY=1; how often to say WATCHDOG=1, with \-\-heartbeat
.TP
ABUSE_OWNER
The token under which it takes requests
.TP
ABUSE_STANDBY
A descriptor: it takes none before a byte can be read there
"#;

const FILE: &str = r#".TH abuse-supervisor.toml 5 "" "" "ABUSE"
.SH NAME
abuse\-supervisor.toml \- the devices that abuse\-supervisor looks after
.SH DESCRIPTION
A file in TOML, /etc/abuse/supervisor.toml if nothing else is said, read by
\fBabuse\-supervisor run \-\-config\fP. Each \fB[[device]]\fP is a device with its workers; what
\fB[defaults]\fP says holds for each that does not say otherwise. The file is checked whole before
anything is done; \fBabuse\-supervisor check\fP does no more than that. SIGHUP, or
\fBabuse\-supervisor reload\fP, has it read again: devices that are new start, devices that are gone end,
workers whose command changed are replaced one after the other, and what is the same is not touched.
.SH KEYS OF A DEVICE
.TP
\fBdevice\fP = text
/dev/abctlN, /dev/abuseN, N, or the name the device was added under
.TP
\fBcommand\fP = list of text
The worker; {ctl} in it stands for the control node
.TP
\fBsetup\fP = text
Set the device up first, unless it is: the keys of abusectl setup, as in "size=1G,bs=4096"
.SH KEYS OF A DEVICE AND OF DEFAULTS
"#;

const EXAMPLE: &str = r#".SH EXAMPLE
.nf
[defaults]
standby = 1
heartbeat = "10s"

[[device]]
device = "0"
setup = "size=1G"
workers = 2
command = ["abusectl", "server", "{ctl}", "\-\-backend", "file:/srv/a.img"]
.fi
.SH SEE ALSO
\fBabuse\-supervisor\fP(8), \fBabusectl\fP(8)
"#;

/// Text as roff shows it unchanged.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = escaped
        .lines()
        .map(|line| match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line.to_string(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_the_file_have_a_page() {
        let dir = std::env::temp_dir().join(format!("abuse-manual-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        write(&dir).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        let run = read("abuse-supervisor-run.8");
        for words in [
            ".SH OPTIONS",
            "\\-\\-standby",
            ".SH SIGNALS",
            ".SH \"EXIT STATUS\"",
        ] {
            let found = run.contains(words) || run.contains(&words.replace('"', ""));
            assert!(found, "{words}: {run}");
        }
        for verb in ["check", "status", "restart", "drain", "reload"] {
            assert!(read(&format!("abuse-supervisor-{verb}.8")).contains(".SH NAME"));
        }
        let file = read("abuse-supervisor.toml.5");
        for key in ["back\\-off", "heartbeat", "give\\-up", "standby"] {
            assert!(
                file.contains(&format!(".TP\n\\fB{key}\\fP = ")),
                "{key}: {file}"
            );
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn bash_completes_the_options_of_every_verb() {
        let script = completions(clap_complete::Shell::Bash);
        let script = String::from_utf8(script).unwrap();
        // What a line is found to be, and what is then proposed.
        let lines = script.lines().map(str::trim);
        let found = lines.filter_map(|line| line.strip_prefix("cmd=\"")?.strip_suffix('"'));
        let found: Vec<&str> = found.filter(|name| !name.is_empty()).collect();
        assert!(found.contains(&"abuse__supervisor__subcmd__run"));
        for name in found {
            assert!(script.contains(&format!("\n        {name})\n")), "{name}");
        }
        assert!(script.contains("--standby"));
    }

    /// The example of the page is a file that can be read.
    #[test]
    fn the_example_of_the_page_is_right() {
        let (_, example) = EXAMPLE.split_once(".nf\n").unwrap();
        let (example, _) = example.split_once(".fi").unwrap();
        let text = example.replace("\\-", "-").replace("abusectl", "sh");
        let path = std::env::temp_dir().join(format!("abuse-example-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let read = crate::config::read(&path);
        std::fs::remove_file(path).unwrap();
        assert_eq!(read.unwrap()[0].terms.standby, 1);
    }
}
