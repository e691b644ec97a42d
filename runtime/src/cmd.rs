//! The verbs, one file each.

use crate::cli::Entry;

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod plan;
mod ps;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

/// Every verb, in the order of the help.
pub(crate) const VERBS: &[Entry] = &[
    Entry::of::<create::Create>(),
    Entry::of::<delete::Delete>(),
    Entry::of::<events::Events>(),
    Entry::of::<exec::Exec>(),
    Entry::of::<features::Features>(),
    Entry::of::<kill::Kill>(),
    Entry::of::<list::List>(),
    Entry::of::<pause::Pause>(),
    Entry::of::<plan::Plan>(),
    Entry::of::<ps::Ps>(),
    Entry::of::<resume::Resume>(),
    Entry::of::<run::Run>(),
    Entry::of::<spec::Spec>(),
    Entry::of::<start::Start>(),
    Entry::of::<state::State>(),
    Entry::of::<update::Update>(),
];
