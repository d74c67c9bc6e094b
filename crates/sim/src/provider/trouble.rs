//! What is wrong with the provider for a while, as knobs of its model.

use sendplane_provider_model::{CodeRate, Down, Faults, MsRange};

use crate::env::Env;
use crate::fault::Trouble;
use crate::shape::Shape;

/// Webhooks of the sim are never all in order. Where tenants contend for slots the provider works.
pub fn usual(shape: &Shape) -> Faults {
    let latency_ms = MsRange::new(5, 300);
    if shape.contended {
        return Faults { latency_ms, ..Faults::default() };
    }
    Faults {
        lose_answer: 0.03,
        reset_before_accept: 0.02,
        garbage_answer: 0.02,
        errors: vec![
            CodeRate { code: 131_000, probability: 0.02 },
            CodeRate { code: 131_056, probability: 0.02 },
            CodeRate { code: 133_004, probability: 0.01 },
        ],
        failures: vec![CodeRate { code: 131_026, probability: 0.05 }],
        webhook_duplicate: 0.1,
        webhook_reorder: 0.1,
        webhook_drop: 0.03,
        latency_ms,
        ..Faults::default()
    }
}

/// A trouble begins.
pub fn begin(env: &mut Env, trouble: Trouble) {
    env.counts.one("provider faults");
    env.provider.troubles.push(trouble);
    turn(env);
}

/// A trouble ends.
pub fn end(env: &mut Env, trouble: Trouble) {
    let troubles = &mut env.provider.troubles;
    if let Some(found) = troubles.iter().position(|one| *one == trouble) {
        troubles.remove(found);
    }
    turn(env);
}

fn turn(env: &mut Env) {
    let mut faults = usual(&env.shape);
    for trouble in &env.provider.troubles {
        match trouble {
            Trouble::Refuses => faults.down = Down::Refuse,
            Trouble::Unavailable => faults.down = Down::Unavailable,
            Trouble::LosesAnswers => faults.lose_answer = 0.6,
            Trouble::Resets => faults.reset_before_accept = 0.6,
            Trouble::Throttles => {
                faults.errors = vec![CodeRate { code: 130_429, probability: 0.7 }];
            }
            Trouble::Slow => faults.latency_ms = MsRange::new(2_000, 16_000),
            Trouble::Garbage => faults.garbage_answer = 0.6,
            Trouble::Silent => {
                faults.lose_answer = 0.3;
                faults.webhook_drop = 0.3;
                faults.webhook_reorder = 0.5;
                faults.webhook_shift_ms = MsRange::new(100, 240_000);
            }
            Trouble::Webhooks => {
                faults.webhook_drop = 0.3;
                faults.webhook_duplicate = 0.3;
                faults.webhook_reorder = 0.3;
                faults.webhook_shift_ms = MsRange::new(100, 30_000);
            }
        }
    }
    env.provider.model.set_faults(faults).expect("knobs within their range");
}
