//! Which binding of an AoR a Contact names.

use super::record::Binding;
use sipfed_sip::Uri;

impl Binding<'_> {
    /// Whether its removal, where it was not known, was that of `other` as well: they are the same for a registrar.
    pub(super) fn forestalls(&self, other: &Binding<'_>) -> bool {
        if !self.flags().forestalls() || !self.flags().removed() || self.stamp() <= other.stamp() {
            return false;
        }
        let (uri, instance) = (self.uri(), self.instance());
        if uri.is_empty() || uri == other.uri() && instance == other.instance() && self.reg_id() == other.reg_id() {
            return true;
        }
        Uri::parse(uri).is_ok_and(|uri| other.is_named_by(&uri, instance, self.reg_id()))
    }

    /// Whether a Contact names it: by instance and reg-id where it has them (RFC 5626 §6), else by URI equality (RFC 3261 §10.3
    /// step 7).
    pub(crate) fn is_named_by(&self, uri: &Uri<'_>, instance: &[u8], reg_id: u32) -> bool {
        if !instance.is_empty() && (reg_id != 0 || !self.instance().is_empty()) {
            return self.instance() == instance && self.reg_id() == reg_id;
        }
        Uri::parse(self.uri()).is_ok_and(|own| own == *uri)
    }
}
