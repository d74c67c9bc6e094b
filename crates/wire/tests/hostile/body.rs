//! Webhook bodies with intact and broken parts side by side, and what the intact ones say.
//!
//! A body is text from the start: much of what breaks one (half a surrogate pair, a number beyond a
//! double, bytes that are no UTF-8, a key given twice) cannot be said as a JSON value.

use sendplane_domain::id::{PhoneNumberId, Wamid};
use sendplane_domain::time::Timestamp;
use sendplane_wire::record::ReceiptStatus;
use sendplane_wire::webhook::{InboundMessage, Item, Pricing, Status, StatusError};
use serde_json::{Map, Value, json};

use crate::entropy::Entropy;

const WABA: &str = "100200300400500";
const NUMBER: &str = "500400300200100";

/// Ids of intact elements start so; nothing broken uses it.
pub const INTACT: &str = "intact.";

const STATUSES: [(&str, ReceiptStatus); 6] = [
    ("sent", ReceiptStatus::Sent),
    ("delivered", ReceiptStatus::Delivered),
    ("read", ReceiptStatus::Read),
    ("played", ReceiptStatus::Played),
    ("failed", ReceiptStatus::Failed),
    ("warped", ReceiptStatus::Unknown),
];

/// A body and the items that must be read from it, whatever else is in it.
#[derive(Debug, Default)]
pub struct Body {
    pub text: Vec<u8>,
    pub intact: Vec<Item>,
}

impl Body {
    /// Any body whose brackets close.
    pub fn any(entropy: &mut Entropy<'_>) -> Self {
        let mut body = Self::default();
        body.push("{");
        if !entropy.once_in(8) {
            body.push(r#""object":"whatsapp_business_account","#);
        }
        body.junk_fields(entropy);
        body.push(r#""entry":"#);
        body.list(entropy, 3, Self::entry);
        body.push("}");
        body
    }

    /// A body without a fault, of every kind of update.
    pub fn whole(entropy: &mut Entropy<'_>) -> Value {
        let metadata = json!({"display_phone_number": "4930111", "phone_number_id": NUMBER});
        let status = json!({"id": "w1", "status": "failed", "timestamp": "1790000000", "errors": [
            {"code": 131_049, "title": "t", "error_data": {"details": "d"}}]});
        let message = json!({"id": "w2", "from": "49", "type": "text", "text": {"body": "STOP"}});
        let values = [
            json!({"metadata": metadata, "statuses": [status, status], "contacts": [{}]}),
            json!({"metadata": metadata, "messages": [message], "contacts": [{"user_id": "DE.1"}]}),
            json!({"metadata": metadata, "errors": [{"code": 130_429, "title": "t"}]}),
            json!({"message_template_id": 5, "event": "PAUSED", "reason": null}),
            json!({"new_quality_score": "RED", "message_template_id": 5}),
            json!({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}}),
            json!({"user_preferences": [{"wa_id": "49", "value": "stop"}]}),
            json!({"statuses": [{"id": "wacid.1", "status": "RINGING"}], "metadata": metadata}),
        ];
        let fields = ["messages", "message_template_status_update", "account_update", "calls", ""];
        let changes = |entropy: &mut Entropy<'_>| {
            let change = |value: Value, field: &str| json!({"field": field, "value": value});
            let count = 1 + entropy.below(3);
            let any = (0..count).map(|_| change(entropy.pick(&values), entropy.pick(&fields)));
            any.collect::<Vec<Value>>()
        };
        let entries = (0..1 + entropy.below(2))
            .map(|_| json!({"id": WABA, "time": 1_790_000_000, "changes": changes(entropy)}));
        json!({"object": "whatsapp_business_account", "entry": entries.collect::<Vec<Value>>()})
    }

    fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// `[a,b,…]`, some of them broken.
    fn list(
        &mut self,
        entropy: &mut Entropy<'_>,
        max: usize,
        element: impl Fn(&mut Self, &mut Entropy<'_>),
    ) {
        self.push("[");
        for at in 0..1 + entropy.below(max) {
            if at > 0 {
                self.push(",");
            }
            if entropy.once_in(3) {
                let broken = broken(entropy);
                self.text.extend(broken);
            } else {
                element(self, entropy);
            }
        }
        self.push("]");
    }

    /// Some fields nobody asked for, each with its comma.
    fn junk_fields(&mut self, entropy: &mut Entropy<'_>) {
        for _ in 0..entropy.below(3) {
            let name = entropy.pick(&["contacts", "errors", "time", "brand_new", "\\ud800"]);
            self.push(&format!("\"{name}\":"));
            let broken = broken(entropy);
            self.text.extend(broken);
            self.push(",");
        }
    }

    fn entry(&mut self, entropy: &mut Entropy<'_>) {
        self.push(&format!(r#"{{"id":"{WABA}","#));
        self.junk_fields(entropy);
        self.push(r#""changes":"#);
        self.list(entropy, 3, Self::change);
        self.push("}");
    }

    fn change(&mut self, entropy: &mut Entropy<'_>) {
        let field = entropy.pick(&[r#""messages""#, r#""renamed""#, "17", "null"]);
        self.push(&format!(r#"{{"field":{field},"value":{{"#));
        self.push(&format!(r#""metadata":{{"phone_number_id":"{NUMBER}"}},"#));
        self.junk_fields(entropy);
        self.push(r#""statuses":"#);
        self.list(entropy, 5, Self::status);
        self.push(r#","messages":"#);
        self.list(entropy, 3, Self::message);
        self.push("}}");
    }

    /// An object's own fields, then fields it can do without.
    fn object(&mut self, entropy: &mut Entropy<'_>, fields: Value) {
        self.push("{");
        self.junk_fields(entropy);
        let text = fields.to_string();
        self.push(text.strip_prefix('{').expect("an object"));
    }

    fn id(&self, entropy: &mut Entropy<'_>) -> String {
        format!("{INTACT}{}.{}", self.intact.len(), entropy.text())
    }

    fn status(&mut self, entropy: &mut Entropy<'_>) {
        let (word, status) = entropy.pick(&STATUSES);
        let wamid = self.id(entropy);
        let mut fields = json!({"id": wamid, "status": word});
        let occurred_at = moment(entropy, &mut fields);
        let error = error(entropy, &mut fields);
        let pricing = pricing(entropy, &mut fields);
        let mut text = |name: &str| {
            let value = entropy.once_in(2).then(|| format!("x{}", entropy.text()))?;
            fields[name] = json!(value);
            Some(value)
        };
        let recipient_id = text("recipient_id");
        let opaque = text("biz_opaque_callback_data");
        self.intact.push(Item::Status(Box::new(Status {
            waba_id: WABA.to_owned(),
            phone_number_id: PhoneNumberId::new(NUMBER),
            wamid: Wamid::new(wamid),
            status,
            status_text: word.to_owned(),
            occurred_at,
            recipient_id,
            opaque,
            error,
            pricing,
        })));
        // Junk comes first and may be called so too: of two fields the last one counts.
        if fields.get("errors").is_none() {
            fields["errors"] = Value::Null;
        }
        self.object(entropy, fields);
    }

    fn message(&mut self, entropy: &mut Entropy<'_>) {
        let wamid = self.id(entropy);
        let r#type = entropy.pick(&["text", "button", "new"]).to_owned();
        let mut fields = json!({"id": wamid, "type": r#type, "from_user_id": "DE.1"});
        let occurred_at = moment(entropy, &mut fields);
        let from = entropy.once_in(2).then(|| "4915112345678".to_owned());
        fields["from"] = json!(from);
        self.intact.push(Item::InboundMessage(Box::new(InboundMessage {
            waba_id: WABA.to_owned(),
            phone_number_id: PhoneNumberId::new(NUMBER),
            wamid: Wamid::new(wamid),
            from,
            from_user_id: Some("DE.1".to_owned()),
            occurred_at,
            r#type,
        })));
        self.object(entropy, fields);
    }
}

/// A time in one of its forms, or none that is one.
fn moment(entropy: &mut Entropy<'_>, fields: &mut Value) -> Option<Timestamp> {
    let seconds = 1_790_000_000 + entropy.below(1 << 16) as i64;
    let exact = seconds * 1_000 + 321;
    let (value, millis) = match entropy.below(5) {
        0 => (json!(seconds.to_string()), Some(seconds * 1_000)),
        1 => (json!(seconds), Some(seconds * 1_000)),
        2 => (json!(exact), Some(exact)),
        3 => (json!(exact.to_string()), Some(exact)),
        _ => (entropy.pick(&[json!(-1), json!(1.5), json!([]), json!("soon")]), None),
    };
    fields["timestamp"] = value;
    millis.map(Timestamp::from_millis)
}

fn error(entropy: &mut Entropy<'_>, fields: &mut Value) -> Option<StatusError> {
    if !entropy.once_in(3) {
        return None;
    }
    let code = entropy.integer() as i32;
    let title = format!("t{}", entropy.text());
    fields["errors"] = json!([{"code": code, "title": title, "error_data": {"details": "d"}}, 7]);
    Some(StatusError { code: Some(code), title: Some(title), details: Some("d".to_owned()) })
}

fn pricing(entropy: &mut Entropy<'_>, fields: &mut Value) -> Option<Pricing> {
    if !entropy.once_in(3) {
        return None;
    }
    fields["pricing"] = json!({"category": "utility", "type": "regular", "billable": true});
    let text = |text: &str| Some(text.to_owned());
    Some(Pricing { category: text("utility"), r#type: text("regular"), billable: Some(true) })
}

/// Something that closes its brackets and is of no use.
pub fn broken(entropy: &mut Entropy<'_>) -> Vec<u8> {
    match entropy.below(10) {
        0 => b"null".to_vec(),
        1 => entropy.pick(&["1e999", "-1E+4000", "1e-999", "99999999999999999999999"]).into(),
        2 => b"\"\xf0\x9f\xff\"".to_vec(),
        3 => br#"{"id":"half \ud83d","status":"\udc00\ud800","x":"\q \u12"}"#.to_vec(),
        4 => b"{\"id\":\"raw \x00\x01\n\t\x1f\",\"status\":\"sent\"}".to_vec(),
        5 => br#"{"id":"twice","id":"b","status":"sent","status":7,"id":{}}"#.to_vec(),
        6 => nested(entropy),
        7 => format!("\"{}\"", "long ".repeat(entropy.below(400))).into_bytes(),
        _ => mutated(entropy).to_string().into_bytes(),
    }
}

/// Brackets in brackets, a few or very many.
fn nested(entropy: &mut Entropy<'_>) -> Vec<u8> {
    let depth = if entropy.once_in(128) { 12_000 } else { entropy.below(300) };
    let (open, close) = entropy.pick(&[("[", "]"), (r#"{"id":"#, "}"), (r#"[{"value":"#, "}]")]);
    format!("{}\"]}}\"{}", open.repeat(depth), close.repeat(depth)).into_bytes()
}

/// A status, message or change with something wrong in it.
fn mutated(entropy: &mut Entropy<'_>) -> Value {
    let status = json!({"id": "b", "status": "failed", "timestamp": "1790000000", "errors": [
        {"code": 131_026, "title": "t", "error_data": {"details": "d"}}], "pricing": {"type": "x"}});
    let message = json!({"id": "b", "from": "49", "type": "text", "timestamp": "1790000000"});
    let change = json!({"field": "account_update", "value": {"event": "X", "ban_info": {}}});
    let entry = json!({"id": "7", "changes": [change, {"value": {"statuses": [status]}}]});
    let mut value = entropy.pick(&[status, message, change, entry]);
    for _ in 0..1 + entropy.below(3) {
        mutate(&mut value, entropy);
    }
    value
}

/// Deletes, copies, retypes, nests or inflates one place of `value`.
pub fn mutate(value: &mut Value, entropy: &mut Entropy<'_>) {
    let place = descend(value, entropy);
    match (entropy.below(6), &mut *place) {
        (0, Value::Object(map)) => {
            let key = map.keys().nth(entropy.below(map.len().max(1))).cloned();
            key.and_then(|key| map.remove(&key));
        }
        (0, Value::Array(list)) => {
            list.pop();
        }
        (1, Value::Array(list)) => list.extend(list.clone()),
        (1, Value::Object(map)) => {
            let copy = Value::Object(map.clone());
            map.insert("statuses".to_owned(), copy);
        }
        (2, _) => *place = json!([place.take()]),
        (3, _) => *place = Value::Object(Map::from_iter([("value".to_owned(), place.take())])),
        _ => {
            let text = entropy.text();
            *place = entropy.pick(&[
                json!(null),
                json!(false),
                json!(u64::MAX),
                json!(i64::MIN),
                json!(1e300),
                json!(-0.0),
                json!([]),
                json!({}),
                json!(""),
                json!(text),
                json!("9".repeat(600)),
            ]);
        }
    }
}

fn descend<'v>(value: &'v mut Value, entropy: &mut Entropy<'_>) -> &'v mut Value {
    let len = match &*value {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    if len == 0 || entropy.once_in(4) {
        return value;
    }
    let at = entropy.below(len);
    match value {
        Value::Array(list) => descend(&mut list[at], entropy),
        Value::Object(map) => descend(map.values_mut().nth(at).expect("below its length"), entropy),
        leaf => leaf,
    }
}
