//! Pause switches: which messages an operator holds, and until when.

use std::collections::BTreeMap;
use std::sync::Arc;

use sendplane_domain::id::{PhoneNumberId, TenantId};
use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::{Dispatch, Switch};

/// What a switch is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'m> {
    /// The message.
    pub dispatch: &'m Dispatch,
    /// The lane it is in: a message is moved down, so its own claim does not count.
    pub lane: Lane,
}

/// All switches by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Switches(BTreeMap<String, Arc<Switch>>);

impl Switches {
    /// Sets or lifts one.
    pub fn set(&mut self, id: &str, switch: Option<Switch>) {
        match switch {
            Some(switch) => {
                self.0.insert(id.to_owned(), Arc::new(switch));
            }
            None => {
                self.0.remove(id);
            }
        }
    }

    /// The switch that holds all that a number has in a lane for longest at `now`; `None` if only
    /// single messages are held. Such a pause needs no look at the messages.
    pub fn holding_lane(
        &self,
        tenant: &TenantId,
        number: &PhoneNumberId,
        lane: Lane,
        now: Timestamp,
    ) -> Option<&Switch> {
        let holds = |switch: &&Switch| {
            switch.expires_at > now
                && holds_whole_lanes(switch)
                && fits(switch.tenant.as_ref(), Some(tenant))
                && fits(switch.phone_number_id.as_ref(), Some(number))
                && fits(switch.lane.as_deref().as_ref(), Some(&lane.as_str()))
        };
        self.0.values().map(Arc::as_ref).filter(holds).max_by_key(|switch| switch.expires_at)
    }

    /// The switch that holds a message for longest at `now`; `None` if nothing holds it.
    pub fn holding(&self, subject: Subject<'_>, now: Timestamp) -> Option<&Switch> {
        self.0
            .values()
            .map(Arc::as_ref)
            .filter(|switch| switch.expires_at > now && matches(switch, subject))
            .max_by_key(|switch| switch.expires_at)
    }
}

/// An absent part of a scope fits everything.
fn fits<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
    wanted.is_none() || wanted == found
}

/// Whether nothing of the scope is about the message itself.
fn holds_whole_lanes(switch: &Switch) -> bool {
    switch.category.is_none()
        && switch.campaign.is_none()
        && switch.template_name.is_none()
        && switch.template_language.is_none()
}

/// Whether all of the switch's scope fits.
fn matches(switch: &Switch, Subject { dispatch, lane }: Subject<'_>) -> bool {
    fits(switch.tenant.as_ref(), Some(&dispatch.tenant))
        && fits(switch.lane.as_deref().as_ref(), Some(&lane.as_str()))
        && fits(switch.category.as_ref(), Some(&dispatch.category))
        && fits(switch.campaign.as_ref(), dispatch.campaign.as_ref())
        && fits(switch.template_name.as_ref(), Some(&dispatch.template_name))
        && fits(switch.template_language.as_ref(), Some(&dispatch.template_language))
        && fits(switch.phone_number_id.as_ref(), Some(&dispatch.phone_number_id))
}
