//! `entry[].changes[]`: what a value is, and the items in it.

use sendplane_domain::id::{PhoneNumberId, Wamid};
use serde_json::Value;

use super::fields;
use super::items::{InboundMessage, Item, Malformed, Notice};
use super::status;

/// Fields that say little: Meta prints them for values of other fields too.
const VAGUE: &[&str] = &["", "messages", "message_template_status_update"];

/// Keys that tell the kind of a value whose field is vague. The first match counts.
const SHAPES: &[(&str, &str)] = &[
    ("new_quality_score", "message_template_quality_update"),
    ("correct_category", "template_category_update"),
    ("previous_category", "template_category_update"),
    ("user_preferences", "user_preferences"),
    ("restriction_info", "account_update"),
    ("ban_info", "account_update"),
    ("violation_info", "account_update"),
    ("message_template_id", "message_template_status_update"),
];

/// Fields whose values have `statuses` or `messages` of another kind, such as those of calls.
const NOT_MESSAGING: &[&str] = &["calls", "history", "smb_message_echoes", "smb_app_state_sync"];

/// Reads every change of an entry. `at` is the JSON pointer of the entry.
pub(super) fn read_entry(entry: &Value, at: &str, items: &mut Vec<Item>) {
    let waba_id = fields::id(&entry["id"]).unwrap_or_default();
    let Some(changes) = entry["changes"].as_array() else {
        return malformed(items, &waba_id, "entry_without_changes", at.to_owned());
    };
    for (index, change) in changes.iter().enumerate() {
        let at = format!("{at}/changes/{index}");
        let value = &change["value"];
        if !value.is_object() {
            malformed(items, &waba_id, "change_without_value", at);
            continue;
        }
        // Some of Meta's samples print `field` one level too high or too low.
        let field =
            [change, value, entry].into_iter().find_map(|place| fields::word(&place["field"]));
        let field = field.unwrap_or_default();
        let change = Change { waba_id: &waba_id, time: &entry["time"], field, value };
        change.read(&format!("{at}/value"), items);
    }
}

struct Change<'a> {
    waba_id: &'a str,
    /// `entry.time`.
    time: &'a Value,
    field: String,
    value: &'a Value,
}

impl Change<'_> {
    fn read(&self, at: &str, items: &mut Vec<Item>) {
        let before = items.len();
        if !NOT_MESSAGING.contains(&self.field.as_str()) {
            self.read_list("statuses", at, items, |status, phone_number_id| {
                status::read(status, self.waba_id, phone_number_id).map(|s| Item::Status(s.into()))
            });
            self.read_list("messages", at, items, |message, phone_number_id| {
                let mut message = inbound(message, self.waba_id, phone_number_id)?;
                message.from_user_id = message.from_user_id.or_else(|| self.only_contact());
                Ok(Item::InboundMessage(message.into()))
            });
        }
        // `errors` of a value concern the account or the app, whatever else the value holds.
        let errors = self.value["errors"].as_array().is_some_and(|errors| !errors.is_empty());
        if errors || items.len() == before {
            items.push(Item::Notice(self.notice()));
        }
    }

    /// Reads the array `key`, if there is one. Each of its elements becomes one item.
    fn read_list(
        &self,
        key: &'static str,
        at: &str,
        items: &mut Vec<Item>,
        read: impl Fn(&Value, &PhoneNumberId) -> Result<Item, &'static str>,
    ) {
        let list = match &self.value[key] {
            Value::Null => return,
            Value::Array(list) => list,
            _ => {
                return malformed(items, self.waba_id, "list_not_an_array", format!("{at}/{key}"));
            }
        };
        let phone_number_id = self.phone_number_id();
        for (index, element) in list.iter().enumerate() {
            let item = match &phone_number_id {
                Some(phone_number_id) => read(element, phone_number_id),
                None => Err("value_without_phone_number_id"),
            };
            match item {
                Ok(item) => items.push(item),
                Err(reason) => {
                    malformed(items, self.waba_id, reason, format!("{at}/{key}/{index}"))
                }
            }
        }
    }

    fn phone_number_id(&self) -> Option<PhoneNumberId> {
        fields::id(&self.value["metadata"]["phone_number_id"]).map(PhoneNumberId::new)
    }

    /// User id of the value's contact, if there is one contact only: nothing ties several contacts
    /// to several messages.
    fn only_contact(&self) -> Option<String> {
        match self.value["contacts"].as_array()?.as_slice() {
            [contact] => fields::id(&contact["user_id"]),
            _ => None,
        }
    }

    fn notice(&self) -> Notice {
        let by_shape = SHAPES
            .iter()
            .find(|(key, _)| VAGUE.contains(&self.field.as_str()) && !self.value[*key].is_null());
        Notice {
            waba_id: self.waba_id.to_owned(),
            phone_number_id: self.phone_number_id(),
            field: by_shape.map_or_else(|| self.field.clone(), |(_, field)| (*field).to_owned()),
            value: self.value.to_string(),
            occurred_at: fields::timestamp(self.time),
        }
    }
}

fn inbound(
    message: &Value,
    waba_id: &str,
    phone_number_id: &PhoneNumberId,
) -> Result<InboundMessage, &'static str> {
    if !message.is_object() {
        return Err("message_not_an_object");
    }
    Ok(InboundMessage {
        waba_id: waba_id.to_owned(),
        phone_number_id: phone_number_id.clone(),
        wamid: Wamid::new(fields::id(&message["id"]).ok_or("message_without_id")?),
        from: fields::id(&message["from"]),
        from_user_id: fields::id(&message["from_user_id"]),
        occurred_at: fields::timestamp(&message["timestamp"]),
        r#type: fields::word(&message["type"]).unwrap_or_default(),
    })
}

fn malformed(items: &mut Vec<Item>, waba_id: &str, reason: &'static str, pointer: String) {
    items.push(Item::Malformed(Malformed { waba_id: waba_id.to_owned(), reason, pointer }));
}
