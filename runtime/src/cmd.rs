//! The verbs, one file each.

use crate::cli::{Entry, entry};

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
    entry::<create::Create>(),
    entry::<delete::Delete>(),
    entry::<events::Events>(),
    entry::<exec::Exec>(),
    entry::<features::Features>(),
    entry::<kill::Kill>(),
    entry::<list::List>(),
    entry::<pause::Pause>(),
    entry::<plan::Plan>(),
    entry::<ps::Ps>(),
    entry::<resume::Resume>(),
    entry::<run::Run>(),
    entry::<spec::Spec>(),
    entry::<start::Start>(),
    entry::<state::State>(),
    entry::<update::Update>(),
];
