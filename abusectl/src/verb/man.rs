// SPDX-License-Identifier: MIT

//! `man DIR`, hidden: writes abusectl.8 and one page per verb, for `make install`.
//!
//! clap_mangen renders what it knows how to; synopsis and tables come from the same text as
//! `--help`, so that they cannot differ from it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use crate::cli;
use crate::failure::{Failure, EXIT_CODES};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write them; it must exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Writes the pages.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    write(&command, &args.dir, "abusectl")?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write(verb, &args.dir, &format!("abusectl-{}", verb.get_name()))?;
    }
    Ok(())
}

fn write(command: &Command, dir: &Path, name: &str) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.8"));
    let mut text = Vec::new();
    page(command, name, &mut text)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| Failure::io(path.display(), &error))
}

fn page(command: &Command, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone())
        .title(name)
        .section("8")
        // A date that is empty would have the next word take its place.
        .date(" ")
        .source(concat!("abusectl ", env!("CARGO_PKG_VERSION")))
        .manual("ABUSE");
    man.render_title(out)?;
    man.render_name_section(out)?;
    let usage = command.clone().render_usage().to_string();
    writeln!(
        out,
        ".SH SYNOPSIS\n.nf\n{}\n.fi",
        escape(usage.trim_start_matches("Usage: ").trim())
    )?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    let after = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let after = match after.contains(EXIT_CODES) {
        true => after,
        false => format!("{after}\n\n{EXIT_CODES}"),
    };
    for block in after.split("\n\n").filter(|block| !block.is_empty()) {
        section(block, out)?;
    }
    Ok(())
}

/// A block of `--help`: one that begins with `Keys:` is a table of its own, the rest are notes.
fn section(block: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
    let (title, lines) = match first.strip_suffix(':') {
        Some("Exit codes") => ("EXIT STATUS".to_string(), rest),
        Some(title) if !rest.is_empty() => (title.to_uppercase(), rest),
        _ => ("NOTES".to_string(), block),
    };
    writeln!(out, ".SH {}\n.nf\n{}\n.fi", title, escape(lines))
}

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
    fn a_page_has_the_usage_of_help_its_tables_and_the_exit_codes() {
        let mut command = cli::command();
        command.build();
        let setup = command.find_subcommand("setup").expect("setup");
        let mut text = Vec::new();
        page(setup, "abusectl-setup", &mut text).expect("a page");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains("abusectl setup [OPTIONS] [DEV] KEY[=VALUE]"),
            "{text}"
        );
        for section in [
            "NAME",
            "SYNOPSIS",
            "OPTIONS",
            "KEYS",
            "NOTES",
            "EXIT STATUS",
        ] {
            assert!(
                text.contains(&format!(".SH {section}\n")),
                "{section}: {text}"
            );
        }
    }

    #[test]
    fn roff_does_not_read_what_is_meant_to_be_text() {
        assert_eq!(escape(".x\n'y\n--z \\x"), "\\&.x\n\\&'y\n\\-\\-z \\ex");
    }
}
