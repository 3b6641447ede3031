// SPDX-License-Identifier: MIT

//! The picture of a profile: everything on top, below it whose code it is, below that the functions;
//! as wide as the instructions of a request that are spent there.

use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 34.0;
const TOP: f64 = 70.0;
/// What is thinner than this has no name in it.
const NAMED: f64 = 46.0;
/// Pixels of a letter.
const LETTER: f64 = 6.4;

/// Whose code a function is, by its name, in the order of the picture. The kernel has no modules inside
/// itself to go by.
const PARTS: &[(&str, &[&str])] = &[
    ("io_uring", &["io_", "__io_", "__do_sys_io_uring"]),
    (
        "block layer",
        &[
            "blk",
            "__blk",
            "bio",
            "__bio",
            "submit_bio",
            "sbitmap",
            "__sbitmap",
            "rq_",
        ],
    ),
    (
        "pages and copying",
        &[
            "rep_", "gup", "try_", "iov_", "__iov", "mod_", "folio", "__folio", "free_", "__free",
            "unpin", "gup_", "__pte", "copy", "clear", "_copy",
        ],
    ),
    (
        "scheduling, system calls, time",
        &[
            "do_syscall",
            "entry_",
            "syscall",
            "__schedule",
            "schedule",
            "try_to_wake",
            "ktime",
            "read_tsc",
            "enqueue",
            "dequeue",
            "pick_",
            "update_",
            "__x64",
            "__rcu",
            "rcu",
            "_raw",
        ],
    ),
];

/// Draws a profile of so many instructions for each request.
pub(crate) fn draw(title: &str, profile: &BTreeMap<String, f64>) -> String {
    let mut parts: BTreeMap<&str, Vec<(&str, f64)>> = BTreeMap::new();
    for (name, &cost) in profile.iter().filter(|(_, &cost)| cost > 0.0) {
        parts.entry(part(name)).or_default().push((name, cost));
    }
    let sum = |rows: &[(&str, f64)]| rows.iter().map(|row| row.1).sum::<f64>();
    let mut order: Vec<(&str, f64)> = parts
        .iter()
        .map(|(name, rows)| (*name, sum(rows)))
        .collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let total: f64 = order.iter().map(|part| part.1).sum::<f64>().max(1.0);
    let scale = WIDTH / total;
    let mut body = String::new();
    boxed(&mut body, 0.0, 0, total * scale, title, total, "all");
    let mut at = 0.0;
    for (name, cost) in order {
        let class = match name {
            "abuse" => "ours",
            "user space" => "user",
            _ => "kernel",
        };
        boxed(&mut body, at, 1, cost * scale, name, cost, class);
        let mut rows = parts.remove(name).unwrap_or_default();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        // What is too thin to be seen is one box.
        let seen = rows.partition_point(|row| row.1 * scale >= 1.0);
        let thin = sum(rows.get(seen..).unwrap_or_default());
        rows.truncate(seen);
        rows.push(("others", thin));
        let mut inside = at;
        for (name, cost) in rows {
            boxed(&mut body, inside, 2, cost * scale, name, cost, class);
            inside += cost * scale;
        }
        at += cost * scale;
    }
    let height = TOP + 3.0 * ROW + 14.0;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="monospace" font-size="10.5">
<style>
.title {{ font: bold 18px sans-serif }} .under {{ font: 12px sans-serif; fill: #555 }}
rect {{ stroke: white; stroke-width: 0.6 }}
.all {{ fill: #dedede }} .ours {{ fill: #d2552d }} .user {{ fill: #e8c268 }} .kernel {{ fill: #a9b9c9 }}
</style>
<rect width="100%" height="100%" fill="white"/>
<text x="10" y="28" class="title">Where the instructions of a request go</text>
<text x="10" y="50" class="under">{title}; a width is the instructions of one request, {total:.0} in all</text>
{body}</svg>
"##
    )
}

fn part(function: &str) -> &'static str {
    if function == "user space" {
        return "user space";
    }
    if function.ends_with("[abuse]") {
        return "abuse";
    }
    let is = |prefixes: &&[&str]| prefixes.iter().any(|prefix| function.starts_with(prefix));
    let known = PARTS.iter().find(|(_, prefixes)| is(prefixes));
    known.map_or("the rest of the kernel", |(name, _)| name)
}

fn boxed(body: &mut String, x: f64, row: u32, width: f64, name: &str, cost: f64, class: &str) {
    let y = TOP + f64::from(row) * ROW;
    let name = name
        .trim_end_matches(" [abuse]")
        .replace('&', "&amp;")
        .replace('<', "&lt;");
    let _ = write!(
        body,
        r#"<g><title>{name}: {cost:.1}</title><rect x="{x:.2}" y="{y:.0}" width="{width:.2}" height="{:.0}" class="{class}"/>"#,
        ROW - 1.0
    );
    if width >= NAMED {
        let letters = ((width - 6.0) / LETTER) as usize;
        let short: String = name.chars().take(letters).collect();
        let _ = write!(
            body,
            r#"<text x="{:.1}" y="{:.0}">{short}</text><text x="{:.1}" y="{:.0}">{cost:.0}</text>"#,
            x + 3.0,
            y + 14.0,
            x + 3.0,
            y + 27.0
        );
    }
    let _ = writeln!(body, "</g>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_is_a_part_of_the_whole() {
        let profile = BTreeMap::from([
            ("user space".to_string(), 300.0),
            ("exchange::take [abuse]".to_string(), 100.0),
            ("blk_mq_submit_bio".to_string(), 200.0),
            ("noise".to_string(), -3.0),
        ]);
        let svg = draw("a job", &profile);
        assert!(svg.contains("600 in all"), "{svg}");
        assert!(
            svg.contains(r#"width="600.00" height="33" class="user""#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"width="200.00" height="33" class="ours""#),
            "{svg}"
        );
        assert!(svg.contains("<title>block layer: 200.0</title>"));
        assert!(!svg.contains("noise"));
    }
}
