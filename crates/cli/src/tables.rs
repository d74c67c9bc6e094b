//! Tenants, templates, pauses and gateways as they stand in the compacted topics.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use sendplane_domain::id::TenantId;
use sendplane_stage_api::{RawRecord, Undecoded};
use sendplane_stage_runtime::tools::TailQuery;
use sendplane_stages::directory::{Change, DirectoryCodec, TemplateKey};
use sendplane_stages::schemas::Schemas;
use sendplane_wire::record::{GatewayStatus, Switch, Template, Tenant};
use sendplane_wire::topic;

use crate::session::{Fault, Session};

/// The newest row of every key.
#[derive(Debug, Default)]
pub struct Tables {
    pub tenants: BTreeMap<TenantId, Tenant>,
    pub templates: BTreeMap<TemplateKey, Template>,
    pub switches: BTreeMap<String, Switch>,
    pub gateways: BTreeMap<String, GatewayStatus>,
    /// Rows that cannot be read; the stages do not use them either.
    pub unreadable: usize,
}

impl Tables {
    /// Reads the topics to their ends.
    pub fn read(session: &Session) -> Result<Self, Fault> {
        let schemas = Schemas::new(HashMap::new(), Arc::new(session.registry()?));
        let codec = DirectoryCodec::new(&schemas);
        let mut tables = Self::default();
        let mut without = None;
        let query = TailQuery {
            topics: &[topic::TENANTS, topic::TEMPLATES, topic::CONTROL, topic::GATEWAYS],
            partition: None,
            from_beginning: true,
            until_end: true,
        };
        session.tools()?.tail(&query, &mut |record| {
            let raw = RawRecord {
                topic: &record.topic,
                partition: record.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &record.headers,
            };
            match codec.decode(&raw) {
                Ok(change) => tables.apply(change),
                Err(Undecoded::Reject(_)) => tables.unreadable += 1,
                Err(Undecoded::Later(reason)) => {
                    without = Some(reason);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        match without {
            None => Ok(tables),
            Some(reason) => Err(anyhow::anyhow!(reason).into()),
        }
    }

    pub fn apply(&mut self, change: Change) {
        fn set<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: Option<V>) {
            match row {
                Some(row) => drop(rows.insert(key, row)),
                None => drop(rows.remove(&key)),
            }
        }
        match change {
            Change::Tenant(tenant, row) => set(&mut self.tenants, tenant, row),
            Change::Template(key, row) => set(&mut self.templates, key, row),
            Change::Switch(id, row) => set(&mut self.switches, id, row),
            Change::Gateway(instance, row) => set(&mut self.gateways, instance, row),
        }
    }
}
