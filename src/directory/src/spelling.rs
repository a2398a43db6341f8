//! Did you mean: the nearest of some known words.

/// The known word nearest to `word`, when it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    known
        .filter_map(|candidate| {
            // A name without its unit, or with another one, is the commonest slip of all.
            if candidate.strip_prefix(&*word).is_some_and(|rest| rest.starts_with('_')) {
                return Some((1, candidate));
            }
            let edits = edits(&word, candidate);
            (edits <= 1 + candidate.len() / 4).then_some((edits, candidate))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn edits(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    // Three rows of the usual table: before the last, last, and the one being filled.
    let mut rows = [vec![0; to.len() + 1], (0..=to.len()).collect::<Vec<_>>(), vec![0; to.len() + 1]];
    for i in 1..=from.len() {
        rows[2][0] = i;
        for j in 1..=to.len() {
            let replaced = rows[1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[1][j] + 1).min(rows[2][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = least;
        }
        rows.rotate_left(1);
    }
    rows[1][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["min_expires_s", "max_expires_s", "default_expires_s", "gruu"];

    #[test]
    fn slips_find_their_word() {
        for (slip, meant) in [
            ("min_expires", "min_expires_s"),
            ("min-expires-s", "min_expires_s"),
            ("MIN_EXPIRES_S", "min_expires_s"),
            ("max_expiers_s", "max_expires_s"),
            ("default", "default_expires_s"),
            ("grru", "gruu"),
        ] {
            assert_eq!(nearest(slip, KNOWN.into_iter()), Some(meant), "{slip}");
        }
        assert_eq!(nearest("colour", KNOWN.into_iter()), None);
    }

    #[test]
    fn a_swap_is_one_edit() {
        assert_eq!(edits("expiers", "expires"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
