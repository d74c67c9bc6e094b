//! Deliberate bugs, to prove that the oracle would see them.
//!
//! The switch lives here and nowhere else: the model of the host asks it, and a few wrappers around
//! the stages. No production code carries any of it.

/// A bug to plant in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Calls start when they are asked for, before their intent is committed.
    EffectsBeforeCommit,
    /// A call without an answer is made again at once.
    ResendOnTimeout,
    /// The last status webhook decides, whatever came before.
    LastStatusWins,
    /// No transaction carries input offsets.
    OffsetsNotSent,
    /// Transactions that only a timer or a result moved carry no input offsets.
    TimerWithoutOffsets,
    /// The store is written before the transaction is committed.
    StoreBeforeCommit,
    /// Ingest's idempotency rows never reach store or changelog.
    DedupRowLost,
    /// State and offsets are committed in a transaction of their own before the outputs.
    StateBeforeOutputs,
    /// A restore ends at the last stable offset, not at the high watermark.
    RestoreToStable,
    /// As before, and nobody compares `txn_seq` with the offsets' metadata.
    SequenceUnchecked,
    /// A producer is kept after an EndTxn whose result is not known.
    ProducerKept,
    /// Results of calls started under an earlier ownership are applied.
    OldResultsAccepted,
    /// Withdrawals of consent are read and not applied.
    OptOutIgnored,
    /// What a number has used is not stored.
    DebitNotStored,
    /// The gateway answers 200 before the broker has the body.
    AnswerBeforeAppend,
    /// Calls start however late.
    DeadlineIgnored,
    /// The time to start a call counts from when the commit's answer was read, not from when the
    /// cycle began: a process that froze in between calls however late.
    StartCountedFromAnswer,
    /// A task that was taken over grants at once. Only a dense workload shows it: see the test of
    /// takeovers.
    NoTakeoverWait,
    /// A drain in doubt commits behind a new producer, without a restore.
    DrainInDoubt,
    /// Send reads suppressions and does not keep them.
    SuppressionIgnored,
    /// Send opens a message that it gave back for any dispatch, also that of the decision it gave
    /// back.
    DecisionUnchecked,
    /// What send remembers of cancels that came too early or too late is not stored.
    WithdrawalNotStored,
    /// The gateway reports that it served, and none of its gaps.
    GapsForgotten,
    /// Any webhook of a number stands for three later calls that were heard of.
    WitnessesInvented,
    /// Send takes marketing for utility.
    MarketingResent,
    /// Evidence says that everything up to the end of time was processed and used.
    ArrivalsInvented,
    /// Running calls take no slots.
    SlotsUncounted,
    /// Whose turn it is is not stored.
    TurnsNotStored,
    /// What a tenant has used of its budget is not stored.
    SpentNotStored,
    /// A call that the provider refused is paid back.
    RefusalsPaidBack,
    /// Send knows no prices.
    PricesIgnored,
    /// How many users a portfolio has called is not stored.
    UsersNotStored,
    /// A user counts for half a day. Only a run of days shows it: see the test of days.
    UsersCountHalfADay,
    /// Send reads notices and does not keep them.
    NoticesIgnored,
    /// That a template is suspended is not stored.
    SuspensionNotStored,
    /// That a suspended template is being tried is not stored.
    ProbeNotStored,
    /// That a tenant may send no templates is not stored.
    TemplatesStopNotStored,
    /// Send retries as often as the class of an error allows, whatever the tenant wants.
    RetriesIgnored,
}

impl Mutation {
    /// All of them, each with the promise that the oracle must name.
    pub const ALL: [(Mutation, &'static str); 36] = [
        (Mutation::EffectsBeforeCommit, "I3"),
        (Mutation::ResendOnTimeout, "I4"),
        (Mutation::LastStatusWins, "I10"),
        (Mutation::OffsetsNotSent, "I7"),
        (Mutation::TimerWithoutOffsets, "I7"),
        (Mutation::StoreBeforeCommit, "I6"),
        (Mutation::DedupRowLost, "I2"),
        (Mutation::StateBeforeOutputs, "I1"),
        (Mutation::RestoreToStable, "I6"),
        (Mutation::SequenceUnchecked, "I7"),
        (Mutation::ProducerKept, "I6"),
        (Mutation::OldResultsAccepted, "I7"),
        (Mutation::OptOutIgnored, "I11"),
        (Mutation::DebitNotStored, "I8"),
        (Mutation::AnswerBeforeAppend, "I12"),
        (Mutation::DeadlineIgnored, "I3"),
        (Mutation::StartCountedFromAnswer, "I3"),
        (Mutation::DrainInDoubt, "I7"),
        (Mutation::SuppressionIgnored, "I11"),
        (Mutation::DecisionUnchecked, "I4"),
        (Mutation::WithdrawalNotStored, "cancel"),
        (Mutation::GapsForgotten, "I5"),
        (Mutation::WitnessesInvented, "I5"),
        (Mutation::MarketingResent, "I4"),
        (Mutation::ArrivalsInvented, "I5"),
        (Mutation::SlotsUncounted, "slots"),
        (Mutation::TurnsNotStored, "I9"),
        (Mutation::SpentNotStored, "budget"),
        (Mutation::RefusalsPaidBack, "budget"),
        (Mutation::PricesIgnored, "budget"),
        (Mutation::UsersNotStored, "users"),
        (Mutation::NoticesIgnored, "users"),
        (Mutation::SuspensionNotStored, "suspension"),
        (Mutation::ProbeNotStored, "suspension"),
        (Mutation::TemplatesStopNotStored, "suspension"),
        (Mutation::RetriesIgnored, "retries"),
    ];
}
