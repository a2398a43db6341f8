//! Whether this process may use io_uring, and if not, who forbids it.

use crate::{Facts, Finding, KernelVersion, Verdict};

const SYSCTL: &str = "sudo sysctl -w kernel.io_uring_disabled=0\n\
    echo 'kernel.io_uring_disabled = 0' | sudo tee /etc/sysctl.d/60-sipfed.conf   # keeps it over a reboot";

const SECCOMP: &str = "docker run --security-opt seccomp=unconfined ...   \
    # or a profile that allows io_uring_setup, io_uring_enter and io_uring_register\n\
    SystemCallFilter=io_uring_setup io_uring_enter io_uring_register   # added to the [Service] section of the systemd unit";

pub(crate) fn decide(facts: &Facts) -> Verdict {
    let Err(errno) = facts.io_uring else { return Verdict::Fine };
    Verdict::Fatal(match errno {
        libc::ENOSYS => missing(facts),
        libc::EPERM => forbidden(facts),
        libc::EACCES => Finding::new(
            "a security module (SELinux or AppArmor) forbids io_uring to this process",
            "sudo ausearch -m avc -ts recent | audit2allow -M sipfed && sudo semodule -i sipfed.pp   # SELinux\n\
             sudo journalctl -k --grep apparmor   # AppArmor: names the profile to change",
        ),
        libc::ENOMEM => Finding::new(
            "the kernel has no memory left for io_uring under the locked-memory limit (RLIMIT_MEMLOCK) of this user",
            crate::memlock::mend(64 << 20),
        ),
        libc::EMFILE | libc::ENFILE => {
            Finding::new("io_uring could not be opened: the limit of open files is reached", crate::files::mend(65_536))
        }
        other => Finding::new(
            format!("io_uring could not be opened: {}", std::io::Error::from_raw_os_error(other)),
            "look into `sudo dmesg | tail` for the kernel's reason",
        ),
    })
}

fn missing(facts: &Facts) -> Finding {
    match facts.kernel {
        Some(version) if version < KernelVersion::FIRST_IO_URING => Finding::new(
            format!("Linux {version} has no io_uring"),
            "install a newer kernel; Debian 11 and later, Ubuntu 22.04 and later and RHEL 9 bring one",
        ),
        _ if facts.seccomp => Finding::new(
            "a seccomp filter hides io_uring from this process, as container runtimes do by default",
            SECCOMP,
        ),
        _ => Finding::new(
            "this kernel was built without io_uring, or a sandbox such as gVisor stands in for it",
            "grep CONFIG_IO_URING= /boot/config-$(uname -r)   # must say y\n\
             under gVisor: run the container with another runtime (docker run --runtime=runc ...)",
        ),
    }
}

fn forbidden(facts: &Facts) -> Finding {
    match facts.io_uring_disabled {
        Some(2) => Finding::new("io_uring is switched off on this host: kernel.io_uring_disabled is 2", SYSCTL),
        Some(1) if !facts.capabilities.sys_admin => Finding::new(
            "io_uring is for privileged processes only on this host: kernel.io_uring_disabled is 1",
            format!(
                "{SYSCTL}\n\
                 sudo sysctl -w kernel.io_uring_group=$(id -g)   # instead: allows it to this group alone"
            ),
        ),
        _ if facts.seccomp => Finding::new(
            "a seccomp filter forbids io_uring to this process, as container runtimes do by default",
            SECCOMP,
        ),
        _ => Finding::new(
            "the kernel forbids io_uring to this process, and neither kernel.io_uring_disabled nor a seccomp filter explains it",
            "look into `sudo dmesg | tail` and `sudo journalctl -k` for a security module that refused it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capabilities;

    fn finding(errno: i32, change: impl FnOnce(&mut Facts)) -> Finding {
        let mut facts = Facts { io_uring: Err(errno), ..Facts::of_a_good_host() };
        change(&mut facts);
        match decide(&facts) {
            Verdict::Fatal(finding) => finding,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_working_ring_is_fine() {
        assert_eq!(decide(&Facts::of_a_good_host()), Verdict::Fine);
    }

    #[test]
    fn the_sysctl_is_named_with_its_value_and_its_mend() {
        let off = finding(libc::EPERM, |facts| facts.io_uring_disabled = Some(2));
        assert!(off.what.ends_with("kernel.io_uring_disabled is 2"), "{}", off.what);
        assert!(off.mend.contains("sudo sysctl -w kernel.io_uring_disabled=0"), "{}", off.mend);

        let privileged = finding(libc::EPERM, |facts| facts.io_uring_disabled = Some(1));
        assert!(privileged.what.ends_with("kernel.io_uring_disabled is 1"), "{}", privileged.what);
        assert!(privileged.mend.contains("kernel.io_uring_group"), "{}", privileged.mend);
    }

    #[test]
    fn a_privileged_process_is_not_told_about_the_sysctl_that_does_not_bind_it() {
        let finding = finding(libc::EPERM, |facts| {
            facts.io_uring_disabled = Some(1);
            facts.capabilities = Capabilities { sys_admin: true, ..facts.capabilities };
            facts.seccomp = true;
        });
        assert!(finding.what.starts_with("a seccomp filter forbids"), "{}", finding.what);
    }

    #[test]
    fn a_container_is_told_its_flag_whether_it_answers_eperm_or_enosys() {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let finding = finding(errno, |facts| facts.seccomp = true);
            assert!(finding.mend.contains("--security-opt seccomp=unconfined"), "{}", finding.mend);
        }
    }

    #[test]
    fn a_kernel_without_io_uring_is_told_apart_by_its_version() {
        let old = finding(libc::ENOSYS, |facts| facts.kernel = Some(KernelVersion(4, 19)));
        assert_eq!(old.what, "Linux 4.19 has no io_uring");
        let built_without = finding(libc::ENOSYS, |_| {});
        assert!(built_without.what.starts_with("this kernel was built without io_uring"));
    }

    #[test]
    fn every_other_answer_of_the_kernel_has_a_message_too() {
        for errno in [libc::EACCES, libc::ENOMEM, libc::EMFILE, libc::EINVAL, libc::EPERM] {
            let finding = finding(errno, |_| {});
            assert!(!finding.what.is_empty() && !finding.mend.is_empty(), "{errno}");
        }
    }
}
