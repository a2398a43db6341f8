//! Socket buffers: the kernel silently cuts what is asked for to net.core.rmem_max and wmem_max.

use crate::{Facts, Finding, Needs, Verdict};

pub(crate) fn decide_receive(facts: &Facts, needs: &Needs) -> Verdict {
    decide(
        facts,
        "net.core.rmem_max",
        facts.receive_buffer_bytes_max,
        "udp.receive_buffer_bytes",
        needs.receive_buffer_bytes,
        "a burst of datagrams that fills it is dropped by the kernel",
    )
}

pub(crate) fn decide_send(facts: &Facts, needs: &Needs) -> Verdict {
    decide(
        facts,
        "net.core.wmem_max",
        facts.send_buffer_bytes_max,
        "udp.send_buffer_bytes",
        needs.send_buffer_bytes,
        "a burst of answers that fills it has to wait",
    )
}

fn decide(facts: &Facts, sysctl: &str, offered: Option<u64>, key: &str, asked: u64, consequence: &str) -> Verdict {
    match offered {
        // A privileged process gets what it asks for (SO_RCVBUFFORCE, SO_SNDBUFFORCE).
        Some(offered) if offered < asked && !facts.capabilities.net_admin => Verdict::Warning(Finding::new(
            format!("{sysctl} is {offered}, so the kernel cuts {key} = {asked} to that; {consequence}"),
            format!(
                "sudo sysctl -w {sysctl}={asked}\n\
                 echo '{sysctl} = {asked}' | sudo tee -a /etc/sysctl.d/60-sipfed.conf   # keeps it over a reboot"
            ),
        )),
        // Network namespaces other than the first do not show these keys; the kernel's answer stays unknown.
        _ => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capabilities;

    #[test]
    fn a_buffer_that_would_be_cut_is_a_warning_with_the_sysctl() {
        let facts = Facts { receive_buffer_bytes_max: Some(212_992), ..Facts::of_a_good_host() };
        let needs = Needs { receive_buffer_bytes: 4_194_304, ..Needs::small() };
        let Verdict::Warning(finding) = decide_receive(&facts, &needs) else { panic!("no warning") };
        assert_eq!(
            finding.what,
            "net.core.rmem_max is 212992, so the kernel cuts udp.receive_buffer_bytes = 4194304 to that; a burst of datagrams that fills it is dropped by the kernel"
        );
        assert!(finding.mend.starts_with("sudo sysctl -w net.core.rmem_max=4194304\n"));
        assert_eq!(decide_send(&facts, &needs), Verdict::Fine);

        let capabilities = Capabilities { net_admin: true, ..facts.capabilities };
        assert_eq!(decide_receive(&Facts { capabilities, ..facts }, &needs), Verdict::Fine);
    }

    #[test]
    fn an_unknown_bound_is_fine() {
        let facts = Facts { receive_buffer_bytes_max: None, ..Facts::of_a_good_host() };
        assert_eq!(decide_receive(&facts, &Needs::small()), Verdict::Fine);
    }
}
