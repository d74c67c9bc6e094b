//! The same body again: Meta repeats, and so does whoever has recorded one. The gateway takes each;
//! the ingest stage behind it makes one thing of them.

use sendplane_tests::{kafka, stack, wait};

use crate::harness::{Gateway, LIMIT, Mark, PARTITIONS, PREVIOUS, SECRET, WEBHOOKS, cli, signed};
use crate::turn;

const RECEIPTS: &str = "sendplane.receipts.v1";
const NUMBER: &str = "300000000000001";

/// A status webhook about one message.
fn delivered(wamid: &str) -> Vec<u8> {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"400000000000001","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550002222","phone_number_id":"{NUMBER}"}},"statuses":[{{"id":"{wamid}","status":"delivered","timestamp":"1790000000","recipient_id":"999000000000001"}}]}}}}]}}]}}"#
    )
    .into_bytes()
}

/// Waits until the stage has committed all that is in the log.
fn await_read() {
    let bootstrap = &stack::shared().bootstrap;
    let ends = kafka::ends(bootstrap, WEBHOOKS, PARTITIONS);
    wait::until("the stage has read all webhooks", LIMIT, || {
        let committed = kafka::committed(bootstrap, "sendplane.ingest", WEBHOOKS, PARTITIONS);
        let offset = |committed: Option<(i64, String)>| committed.map_or(0, |(offset, _)| offset);
        let offsets: Vec<i64> = committed.into_iter().map(offset).collect();
        (offsets == ends).then_some(())
    });
}

#[test]
fn a_repeated_body_changes_nothing_downstream() {
    let _turn = turn();
    let mut gateway = Gateway::prepare(&[]);
    gateway.write(
        "tenants.yaml",
        &format!(
            "tenants:\n  - tenant: replayed\n    name: replayed\n    credential: default\n    \
             default-phone-number-id: \"{NUMBER}\"\n    phone-numbers:\n      - phone-number-id: \
             \"{NUMBER}\"\n        waba-id: \"400000000000001\"\n        display-number: \
             \"+15550002222\"\n        messages-per-second: 80\n"
        ),
    );
    cli(&["tenants", "apply", &gateway.path("tenants.yaml")]);
    gateway.launch(&[("SENDPLANE__INGEST__ROLE", "both")]);
    gateway.await_ready();
    let bootstrap = &stack::shared().bootstrap;
    let counted = |label| gateway.metric("sendplane_ingest_webhooks_total", label);
    await_read();
    let (new, repeated) = (counted("new"), counted("repeated"));
    let mark = Mark::now();
    let receipts = kafka::ends(bootstrap, RECEIPTS, PARTITIONS);
    let body = delivered("wamid.REPLAYED");
    for secret in [SECRET, SECRET, PREVIOUS, SECRET] {
        let answer = gateway.send(&signed(&body, secret)).expect("an answer");
        assert_eq!(answer.status, 200, "a repetition is taken: its sender may have had no answer");
    }
    assert_eq!(gateway.post(&delivered("wamid.NEXT")).status, 200);
    await_read();
    // Counted right after the commit.
    wait::until("two new ones and three repetitions are counted", LIMIT, || {
        ((counted("new") - new, counted("repeated") - repeated) == (2, 3)).then_some(())
    });
    let raw = mark.bodies();
    assert_eq!((raw[&body], raw.len()), (4, 2), "each is in the log");
    let receipts = kafka::read_from(bootstrap, RECEIPTS, &receipts);
    assert_eq!(receipts.len(), 2, "one receipt for each of the two different bodies");
}
