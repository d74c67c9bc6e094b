//! `tenants apply` and `templates apply`: YAML files into the compacted global topics.

mod file;

use std::path::Path;
use std::process::ExitCode;

use sendplane_service::clock;
use sendplane_stages::directory::TemplateKey;
use sendplane_wire::codec::AvroRecord;
use sendplane_wire::topic;

use crate::args::Apply;
use crate::output;
use crate::session::{Fault, Session};

pub fn apply_tenants(session: &Session, command: &Apply) -> Result<ExitCode, Fault> {
    let Apply::Apply { file } = command;
    let rows = file::tenants(&read(file)?, clock::now()).map_err(|faults| named(file, &faults))?;
    let rows = rows.into_iter().map(|row| (row.tenant.as_str().to_owned(), row)).collect();
    publish(session, topic::TENANTS, rows)
}

pub fn apply_templates(session: &Session, command: &Apply) -> Result<ExitCode, Fault> {
    let Apply::Apply { file } = command;
    let rows =
        file::templates(&read(file)?, clock::now()).map_err(|faults| named(file, &faults))?;
    let rows = rows.into_iter().map(|row| (TemplateKey::of(&row).record_key(), row));
    publish(session, topic::TEMPLATES, rows.collect())
}

fn read(file: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(file).map_err(|error| {
        Fault::input(format!("{}: {error}; name a readable YAML file", file.display()))
    })
}

fn named(file: &Path, faults: &[String]) -> Fault {
    Fault::input(format!("{}:\n  {}", file.display(), faults.join("\n  ")))
}

fn publish<R: AvroRecord>(
    session: &Session,
    topic: &'static str,
    rows: Vec<(String, R)>,
) -> Result<ExitCode, Fault> {
    let encoder = session.encoder(topic)?;
    let values: Vec<(String, Vec<u8>)> = rows
        .into_iter()
        .map(|(key, row)| Ok((key, encoder.encode(&row)?)))
        .collect::<Result<_, Fault>>()?;
    let none = Vec::new();
    let records = values.iter().map(|(key, value)| (key.as_bytes(), Some(value.as_slice()), &none));
    session.tools()?.produce_all(topic, None, records)?;
    for (key, _) in &values {
        output::line(&format!("{key} applied"))?;
    }
    Ok(ExitCode::SUCCESS)
}
