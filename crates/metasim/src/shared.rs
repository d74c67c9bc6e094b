//! What handlers and the webhook pump share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sendplane_provider_model::{
    Answer, Call, Down, Faults, Injection, Invalid, Limits, Model, NodeCall, Unknown,
};
use tokio::sync::{Notify, watch};

use crate::clock;

/// The model behind its lock. Every method holds the lock for one step of the model and reads the
/// clock inside, so that the model sees time in order.
pub(crate) struct Shared {
    model: Mutex<Model>,
    /// An update is due earlier than the pump knows of.
    pub(crate) earlier: Notify,
    refuse: watch::Sender<bool>,
}

impl Shared {
    /// The receiver tells the listener whether to refuse connections.
    pub(crate) fn new(model: Model) -> (Self, watch::Receiver<bool>) {
        let (refuse, receiver) = watch::channel(model.faults().down == Down::Refuse);
        (Self { model: Mutex::new(model), earlier: Notify::new(), refuse }, receiver)
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send(&self, call: &Call<'_>) -> Answer {
        self.step(|model| model.handle_send(clock::now_ms(), call))
    }

    pub(crate) fn get(&self, call: &NodeCall<'_>) -> Answer {
        self.step(|model| model.handle_get(clock::now_ms(), call))
    }

    pub(crate) fn set_limits(&self, limits: Limits) -> Result<(), Invalid> {
        self.step(|model| model.set_limits(limits))
    }

    pub(crate) fn inject(&self, injection: Injection) -> Result<Option<String>, Unknown> {
        self.step(|model| model.inject(clock::now_ms(), injection))
    }

    pub(crate) fn set_faults(&self, faults: Faults) -> Result<(), Invalid> {
        let refuse = faults.down == Down::Refuse;
        self.step(|model| model.set_faults(faults))?;
        self.refuse.send_replace(refuse);
        Ok(())
    }

    fn step<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.model();
        let before = model.next_due();
        let result = act(&mut model);
        let after = model.next_due();
        drop(model);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.earlier.notify_one();
        }
        result
    }
}
