//! `consent set`.

use std::process::ExitCode;

use sendplane_service::clock;
use sendplane_wire::record::{ConsentChange, ConsentScope, ConsentState};
use sendplane_wire::topic;

use crate::args::{Consent, Given, Scope};
use crate::output;
use crate::session::{self, Fault, Session};

pub fn run(session: &Session, command: &Consent) -> Result<ExitCode, Fault> {
    let Consent::Set { tenant, to, scope, state, source } = command;
    let tenant = session::tenant("--tenant", tenant)?;
    let recipient = session::phone("--to", to)?;
    let change = ConsentChange {
        tenant: tenant.clone(),
        recipient: recipient.as_str().to_owned(),
        scope: match scope {
            Scope::Marketing => ConsentScope::Marketing,
            Scope::All => ConsentScope::All,
        },
        state: match state {
            Given::Granted => ConsentState::Granted,
            Given::Withdrawn => ConsentState::Withdrawn,
        },
        changed_at: clock::now(),
        source: source.clone(),
    };
    let value = session.encoder(topic::CONSENT)?.encode(&change)?;
    let key = tenant.as_str().as_bytes();
    session.tools()?.produce(topic::CONSENT, key, Some(&value), &Vec::new(), None)?;
    output::line(&format!("consent of {} recorded", change.recipient))?;
    Ok(ExitCode::SUCCESS)
}
