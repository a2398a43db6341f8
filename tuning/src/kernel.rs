//! The kernel's version.

use crate::{Facts, Finding, Verdict};
use std::fmt;

/// The first two numbers of a kernel's release; what follows them is the distribution's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// The oldest whose io_uring has every operation that the runtime submits.
    pub const OLDEST: Self = Self(5, 6);
    /// From here on the memory of rings belongs to the control group, no longer to the memlock limit.
    pub const RINGS_BELONG_TO_CGROUP: Self = Self(5, 12);
    /// The first with io_uring at all.
    pub(crate) const FIRST_IO_URING: Self = Self(5, 1);

    /// Reads `6.1.0-18-amd64` and the like.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

pub(crate) fn decide(facts: &Facts) -> Verdict {
    match facts.kernel {
        Some(version) if version < KernelVersion::OLDEST => Verdict::Fatal(Finding::new(
            format!(
                "this host runs Linux {version}; sipfed needs {} or newer, whose io_uring has every operation that it submits",
                KernelVersion::OLDEST
            ),
            "install a newer kernel; Debian 11 and later, Ubuntu 22.04 and later and RHEL 9 bring one",
        )),
        // An unreadable version is no reason to refuse: the io_uring check tries the real thing.
        _ => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_read() {
        assert_eq!(KernelVersion::parse("6.1.0-18-amd64"), Some(KernelVersion(6, 1)));
        assert_eq!(KernelVersion::parse("5.15.167.4-microsoft-standard-WSL2"), Some(KernelVersion(5, 15)));
        assert_eq!(KernelVersion::parse("6.8-rc1"), Some(KernelVersion(6, 8)));
        assert_eq!(KernelVersion::parse("unknown"), None);
    }

    #[test]
    fn a_kernel_that_is_too_old_is_named_with_the_one_that_is_needed() {
        let facts = Facts { kernel: Some(KernelVersion(4, 18)), ..Facts::of_a_good_host() };
        let Verdict::Fatal(finding) = decide(&facts) else { panic!("4.18 passed") };
        assert!(finding.what.starts_with("this host runs Linux 4.18; sipfed needs 5.6 or newer"));
    }

    #[test]
    fn an_unreadable_version_passes() {
        assert_eq!(decide(&Facts { kernel: None, ..Facts::of_a_good_host() }), Verdict::Fine);
    }
}
