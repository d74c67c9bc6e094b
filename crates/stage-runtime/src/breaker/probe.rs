//! Trying records without consequences.

use sendplane_stage_api::Stage;
use sendplane_stage_api::slots::Allowance;

use crate::batch::{self, Failed, Surroundings, TurnState};
use crate::budget::Budget;
use crate::error::Error;
use crate::lanes::Fetched;
use crate::task::Task;

/// How many of `records` would be dead letters now. `None`: it cannot be told, because the registry
/// or the global tables are not there. They are decoded and applied, and all of it is forgotten.
pub(super) fn rehearse<'r, S: Stage>(
    env: &Surroundings<'_, S>,
    task: &Task<S>,
    records: impl IntoIterator<Item = &'r Fetched>,
) -> Result<Option<usize>, Error> {
    let mut cycle = batch::open_cycle(env, task, Allowance::NONE);
    let mut turn = TurnState::of(&task.offsets);
    let mut budget = Budget::unbounded();
    let mut unencodable = 0;
    for record in records {
        // A global row that is missing is missing: the tables are caught up with all the time.
        let record = Fetched { globals_current: true, ..record.clone() };
        match batch::take_record(env, task, &record, &mut cycle, &mut budget, &mut turn) {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(None),
            Err(Failed::Quarantine { .. }) => unencodable += 1,
            Err(Failed::Error(error)) => return Err(error),
            Err(Failed::Tripped) => unreachable!("records that are tried are not counted"),
        }
    }
    Ok(Some(turn.dead_letters() + unencodable))
}
