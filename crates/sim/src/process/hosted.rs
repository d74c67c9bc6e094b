//! What the model must know of each stage: how it is made, and that send's effects are calls.

use std::rc::Rc;
use std::sync::LazyLock;

use sendplane_domain::opaque::HashKey;
use sendplane_stage_api::{Codec, Cycle, Globals, Stage};
use sendplane_stages::directory::Change;
use sendplane_stages::ingest::{Ingest, IngestCodec, IngestSettings};
use sendplane_stages::policy::{Policy, PolicyCodec, PolicySettings};
use sendplane_stages::schemas::Schemas;
use sendplane_stages::send::call::{CallProvider, CallResult};
use sendplane_stages::send::{self, SendCodec, SendSettings, SendStage};
use sendplane_stages::status_reconcile::{self, Settings, StatusReconcile, StatusReconcileCodec};

use super::core::Core;
use super::{Process, Runner, sabotage};
use crate::mutation::Mutation;
use crate::shape::{STAGES, Shape};

/// The secret of the modelled deployment.
pub static HASH_KEY: LazyLock<HashKey> = LazyLock::new(|| HashKey::new("sim"));

/// Schemas are parsed once.
pub static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::fixed);

/// A stage that the model can host.
pub trait Hosted: Stage {
    /// The call that an effect stands for.
    fn call_of(_effect: Self::Effect) -> Option<CallProvider> {
        None
    }

    /// A call's result as the stage takes it.
    fn result_of(_result: CallResult) -> Option<Self::EffectResult> {
        None
    }

    /// Before a repetition is applied, for one of the mutations.
    fn take_for_later(_record: &mut Self::Record) {}

    /// Before a record is applied, for one of the mutations.
    fn forget_statuses(_record: &Self::Record, _cycle: &mut Cycle<'_, Self>) {}

    /// The same, for those that make send believe what is not so.
    fn deceive(_mutation: Mutation, _record: &mut Self::Record, _cycle: &mut Cycle<'_, Self>) {}

    /// Before a result is applied, for one of the mutations.
    fn pay_back(_result: &Self::EffectResult, _cycle: &mut Cycle<'_, Self>) {}

    /// Before a global row is applied, for the same.
    fn deceive_globally(_mutation: Mutation, _change: &mut <Self::Globals as Globals>::Change) {}
}

impl Hosted for Ingest {}

impl Hosted for Policy {}

impl Hosted for SendStage {
    fn call_of(effect: CallProvider) -> Option<CallProvider> {
        Some(effect)
    }

    fn result_of(result: CallResult) -> Option<CallResult> {
        Some(result)
    }

    fn take_for_later(record: &mut send::Record) {
        sabotage::take_for_later(record);
    }

    fn deceive(mutation: Mutation, record: &mut send::Record, cycle: &mut Cycle<'_, Self>) {
        sabotage::deceive(mutation, record, cycle);
    }

    fn pay_back(result: &CallResult, cycle: &mut Cycle<'_, Self>) {
        sabotage::limits::pay_back(result, cycle);
    }

    fn deceive_globally(mutation: Mutation, change: &mut Change) {
        sabotage::deceive_globally(mutation, change);
    }
}

impl Hosted for StatusReconcile {
    fn forget_statuses(record: &status_reconcile::Record, cycle: &mut Cycle<'_, Self>) {
        sabotage::forget_statuses(record, cycle);
    }
}

/// The process at `index`, not running.
pub fn process(shape: &Shape, index: usize) -> Box<dyn Process> {
    let stage = shape.stage_of(index);
    let core = Core::new(index, STAGES[stage], index - shape.first_of(stage));
    let schemas = &*SCHEMAS;
    let hash_key = HASH_KEY.clone();
    match stage {
        0 => {
            let stage = Ingest::new(IngestSettings { hash_key });
            runner(core, stage, Rc::new(IngestCodec::new(schemas)))
        }
        1 => {
            let stage = Policy::new(PolicySettings { hash_key });
            runner(core, stage, Rc::new(PolicyCodec::new(schemas)))
        }
        2 => {
            let doubt_window = shape.doubt_window;
            let settings = SendSettings { doubt_window, ..SendSettings::new(hash_key) };
            runner(core, SendStage::new(settings), Rc::new(SendCodec::new(schemas)))
        }
        _ => {
            let stage = StatusReconcile::new(Settings {
                status_deadline: shape.status_deadline,
                delivery_deadline: shape.delivery_deadline,
                doubt_window: shape.doubt_window,
            });
            runner(core, stage, Rc::new(StatusReconcileCodec::new(schemas)))
        }
    }
}

fn runner<S: Hosted>(core: Core, stage: S, codec: Rc<dyn Codec<S>>) -> Box<dyn Process> {
    Box::new(Runner::new(core, Rc::new(stage), codec))
}
