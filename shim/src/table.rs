//! What may be asked of a process in which state, and what becomes of it: one table.

use crate::error::{Code, Fault, Result};

/// The state of a process, be it a container's first or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for Start: as a process if it is the first, as a wish if it is a later one.
    Created,
    Running,
    Paused,
    Stopped,
    Deleted,
}

/// What containerd asks, and [`Verb::Exit`], which nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Pause,
    Resume,
    Exec,
    Kill,
    Update,
    Resize,
    Delete,
    Exit,
}

use State::{Created, Deleted, Paused, Running, Stopped};

/// A row for each verb, a column for each state; `None` is refused.
#[rustfmt::skip]
const TABLE: [(Verb, &str, [Option<State>; 5]); 9] = [
    //                         Created        Running        Paused         Stopped        Deleted
    (Verb::Start,  "start",  [Some(Running), None,          None,          None,          None]),
    (Verb::Pause,  "pause",  [None,          Some(Paused),  None,          None,          None]),
    (Verb::Resume, "resume", [None,          None,          Some(Running), None,          None]),
    (Verb::Exec,   "exec",   [Some(Created), Some(Running), None,          None,          None]),
    (Verb::Kill,   "kill",   [Some(Created), Some(Running), Some(Paused),  None,          None]),
    (Verb::Update, "update", [Some(Created), Some(Running), Some(Paused),  None,          None]),
    (Verb::Resize, "resize", [Some(Created), Some(Running), Some(Paused),  None,          None]),
    (Verb::Delete, "delete", [Some(Deleted), None,          None,          Some(Deleted), None]),
    (Verb::Exit,   "end",    [Some(Stopped), Some(Stopped), Some(Stopped), None,          None]),
];

impl State {
    fn word(self) -> &'static str {
        match self {
            Created => "created",
            Running => "running",
            Paused => "paused",
            Stopped => "stopped",
            Deleted => "deleted",
        }
    }

    /// The state after `verb`.
    ///
    /// # Errors
    /// FAILED_PRECONDITION with the words of containerd's own shim. For Kill of something that has
    /// ended NOT_FOUND, for which every client looks when it stops a container that just stopped;
    /// for a second Delete as well: containerd's CRI asks once more when the first took too long.
    pub(crate) fn after(self, verb: Verb) -> Result<Self> {
        let (_, word, columns) = TABLE[verb as usize];
        columns[self as usize].ok_or_else(|| match (verb, self) {
            (Verb::Kill, Stopped | Deleted) => {
                Fault::new(Code::NOT_FOUND, "process already finished: not found")
            }
            (Verb::Delete, Deleted) => {
                Fault::new(Code::NOT_FOUND, "cannot delete a deleted process: not found")
            }
            (Verb::Exec, _) => {
                Fault::precondition(format!("cannot exec in a {} container", self.word()))
            }
            _ => Fault::precondition(format!("cannot {word} a {} process", self.word())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_in_the_order_of_the_verbs() {
        for (index, (verb, ..)) in TABLE.iter().enumerate() {
            assert_eq!(*verb as usize, index);
        }
    }

    #[test]
    fn a_life() {
        let verbs = [Verb::Start, Verb::Pause, Verb::Resume, Verb::Exit, Verb::Delete];
        let end = verbs.iter().try_fold(Created, |state, verb| state.after(*verb)).unwrap();
        assert_eq!(end, Deleted);
    }

    #[test]
    fn refusals_have_the_words_and_codes_that_clients_look_for() {
        let refusal = |state: State, verb| state.after(verb).unwrap_err();
        assert_eq!(refusal(Running, Verb::Delete).text, "cannot delete a running process");
        assert_eq!(refusal(Paused, Verb::Exec).text, "cannot exec in a paused container");
        assert_eq!(refusal(Stopped, Verb::Start).code, Code::FAILED_PRECONDITION);
        assert_eq!(refusal(Stopped, Verb::Kill).code, Code::NOT_FOUND);
        assert_eq!(refusal(Deleted, Verb::Delete).code, Code::NOT_FOUND);
    }
}
