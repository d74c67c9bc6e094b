//! What to do about a dead letter, by its code. The letter's own detail is more exact; this says
//! whether a replay can help.

/// What helps against `code`.
pub fn advice(code: &str) -> &'static str {
    match code {
        "unknown_schema_id" => {
            "Register the schema under the id the value names, or restore the registry; then replay. \
             If the producer used another registry, have it produce the record again instead."
        }
        "wrong_schema" | "undecodable" | "trailing_bytes" | "no_schema_framing" | "tombstone"
        | "unexpected_topic" => {
            "The bytes will not change: mend the producer and have it produce the record again. A \
             replay helps only if a release of sendplane that reads them was rolled out since."
        }
        "record_too_large" | "misplaced_too_large" => {
            "The record is too large for what follows it: have it produced smaller. A replay ends \
             here again."
        }
        "unknown_tenant" => "Apply the tenant (`sendplane tenants apply`), then replay.",
        "unknown_phone_number" => {
            "Apply the tenant with its numbers, then replay; what it reports joins its messages. If \
             the number is nobody's, unsubscribe the app."
        }
        "webhook_malformed_items" => {
            "The other items of the body were used. Upgrade sendplane if Meta changed the form, then \
             replay; what was used already is not used twice."
        }
        "key_mismatch" | "tenant_invalid" => {
            "The producer must use the tenant as record key: have it produce the record again. A \
             replay keeps the key and ends here again."
        }
        "misrouted" => "Make the partition counts of the topics equal, then replay.",
        "consent_invalid" => {
            "What could be read against sending was applied. If its release was behind, upgrade \
             policy and replay; otherwise have the source produce the change again."
        }
        "unknown_symbol" => "Upgrade the stage to the release that wrote the record, then replay.",
        "decision_invalid" | "attempt_invalid" | "output_not_encodable" => {
            "A fault of sendplane: report it with this letter; replay it after the release that \
             mends it."
        }
        "quarantined" => {
            "Its handler panicked. After the release that mends it, take the place off \
             runtime.quarantine, restart, then replay."
        }
        "attempts_exhausted" => {
            "Every call was refused, none was accepted. Look at `sendplane message show`; once the \
             cause at Meta is mended, replay: the message goes on as its next attempt, as long as \
             it is valid."
        }
        "replay_forgotten" | "replay_mismatch" => {
            "Nothing was called, and a replay ends here again. If the message is still wanted, have \
             a new request made under a new key."
        }
        _ => "Do what the detail says, then replay.",
    }
}
