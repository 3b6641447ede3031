// SPDX-License-Identifier: MIT

//! The word somebody probably meant.

/// The candidate nearest to `word`, if any is near enough to be worth naming.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let similarity = strsim::jaro_winkler(&word, &candidate.to_ascii_lowercase());
            (similarity, candidate)
        })
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean 'size'?`, or what there is when nothing is near.
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("; did you mean '{near}'?"),
        None => format!("; there are {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_named_and_the_far_is_not() {
        let keys = ["size", "blocksize", "queues"];
        assert_eq!(nearest("sise", keys), Some("size"));
        assert_eq!(nearest("BLOKSIZE", keys), Some("blocksize"));
        assert_eq!(nearest("xyzzy", keys), None);
        assert_eq!(suggestion("sze", keys), "; did you mean 'size'?");
        assert_eq!(
            suggestion("xyzzy", keys),
            "; there are size, blocksize, queues"
        );
    }
}
