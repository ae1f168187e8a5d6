//! One list of cases that every [`Store`](crate::Store) passes.
//!
//! An implementation hands in a [`Backend`] and has [`store_conformance!`](crate::store_conformance)
//! make one test of each case. Each case begins with an empty store. Nothing here knows which
//! database it runs on. `simulation` takes random walks beside a model in memory.

mod fixture;
mod running;

pub mod access;
pub mod answers;
pub mod attempts;
pub mod deliveries;
pub mod due;
pub mod event_types;
pub mod events;
pub mod executions;
pub mod intake;
pub mod lifetime;
pub mod pools;
pub mod records;
pub mod replays;
pub mod retention;
pub mod signals;
pub mod simulation;
pub mod sources;
pub mod stats;
pub mod triggers;
pub mod turns;
pub mod webhooks;
pub mod workflows;

use async_trait::async_trait;

use crate::SharedStore;

/// A database that a case can have to itself.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens it; at first it is empty but for the default workspace.
    async fn open(&self) -> SharedStore;

    /// Closes `store` and opens the same database as a new process does once all leases of the
    /// old one have run out.
    async fn restart(&self, store: SharedStore) -> SharedStore;

    /// How much longer than asked for it may keep what is old, in milliseconds: what retention
    /// removes ends at a multiple of it.
    fn span_ms(&self) -> i64 {
        1
    }
}

/// Makes one `#[tokio::test]` of each case; `$backend` is an expression that makes a
/// [`Backend`](crate::conformance::Backend).
#[macro_export]
macro_rules! store_conformance {
    ($backend:expr) => {
        $crate::store_conformance! { @tests $backend;
            events: [
                an_event_is_stored_with_its_deliveries,
                an_event_without_deliveries_is_stored,
                what_was_published_comes_back_byte_for_byte,
                a_repeated_id_is_a_duplicate,
                a_repeated_idempotency_key_is_a_duplicate,
                a_repeat_within_one_call_is_a_duplicate,
                a_given_id_that_was_generated_before_is_a_duplicate,
                the_same_id_in_two_workspaces_is_two_events,
                an_event_is_found_by_its_public_id,
                events_are_listed_newest_first,
                events_are_filtered_by_type_and_time,
                many_at_once_are_all_stored,
            ];
            attempts: [
                a_success_delivers,
                a_failure_waits_for_its_time,
                the_last_failure_is_dead,
                attempts_are_logged_in_full_and_in_order,
                only_the_holder_records,
                a_lease_of_an_earlier_process_records_nothing,
                the_failing_mark_is_set_once_and_cleared,
            ];
            due: [
                what_is_held_is_not_claimed,
                the_earliest_due_is_claimed_first,
                what_is_claimed_is_not_claimed_again,
                what_is_released_is_due,
                a_foreign_lease_releases_nothing,
                ordered_ones_are_claimed_in_order_due_or_not,
                ordered_claims_stop_before_what_is_held,
                a_webhook_that_becomes_ordered_keeps_its_backlog_in_order,
                due_tells_each_webhook_once,
                due_goes_on_after_a_webhook,
                next_due_is_the_earliest_that_nobody_holds,
                what_a_gone_process_held_is_free,
            ];
            deliveries: [
                a_waiting_delivery_is_retried_now,
                a_finished_delivery_is_retried,
                a_held_delivery_is_not_retried,
                deliveries_are_listed_newest_first,
                deliveries_are_filtered,
                a_row_tells_the_last_attempt,
                orphans_are_buried_in_steps,
                the_queues_depth_is_counted,
                another_workspace_sees_nothing,
            ];
            webhooks: [
                a_webhook_is_kept_whole,
                webhooks_are_listed_oldest_first,
                an_update_needs_the_record_that_it_saw,
                becoming_active_clears_the_failing_mark,
                only_an_active_webhook_is_disabled,
                a_deleted_webhook_takes_its_replays_along,
                another_workspace_sees_nothing,
            ];
            replays: [
                one_event_is_replayed,
                a_range_is_replayed,
                what_failed_is_replayed,
                what_a_replay_made_is_no_candidate,
                a_step_counts_once,
                a_replay_goes_on_after_a_restart,
                replays_are_listed,
            ];
            event_types: [
                an_event_type_is_kept_whole,
                another_workspace_sees_nothing,
            ];
            access: [
                a_user_is_kept_with_a_membership,
                a_login_is_taken_once,
                roles_are_set_and_removed,
                workspaces_are_numbered,
                api_keys_are_found_by_their_hash,
                another_workspace_sees_nothing,
            ];
            answers: [
                the_first_answer_is_kept,
            ];
            retention: [
                what_is_old_is_removed_with_all_that_belongs_to_it,
                what_has_pending_deliveries_stays,
                retention_goes_in_steps,
                old_keys_are_removed,
                every_workspace_is_pruned,
            ];
            stats: [
                deliveries_and_attempts_are_counted,
                counts_begin_at_a_time,
                a_retry_is_counted_anew,
            ];
            workflows: [
                a_workflow_is_kept_whole,
                a_version_follows_the_one_that_was_seen,
                a_name_is_taken_once,
                a_race_for_a_name_has_one_winner,
                workflows_are_listed_oldest_first,
                a_removed_workflow_leaves_its_versions,
            ];
            triggers: [
                triggers_are_kept_whole_and_listed,
                a_trigger_is_replaced_and_removed,
                a_version_replaces_the_triggers_of_its_file,
                due_triggers_are_told,
                a_trigger_fires_once,
            ];
            executions: [
                an_execution_is_kept_whole,
                a_start_stores_its_events,
                executions_are_listed,
                what_is_due_is_claimed,
                what_is_claimed_is_not_claimed_again,
                what_is_released_is_due,
                the_next_due_time_is_told,
                what_a_gone_process_held_is_free,
                what_ended_long_ago_is_removed,
            ];
            records: [
                steps_are_kept_whole,
                a_step_alone_changes_nothing_else,
                an_end_is_written_whole,
                only_the_holder_records,
                a_lease_of_an_earlier_process_records_nothing,
                a_signal_is_not_slept_through,
                a_change_can_keep_it_held,
                an_execution_starts_and_tells_others,
            ];
            turns: [
                one_too_many_waits_for_its_turn,
                a_changed_concurrency_counts_from_the_next_end,
                a_stopped_one_that_waited_admits_nobody,
                one_too_many_is_skipped,
                one_too_many_has_the_oldest_stopped,
                a_race_keeps_the_limit,
                a_record_starts_within_the_limit,
            ];
            signals: [
                a_signal_reaches_the_holder,
                numbers_of_signals_are_not_used_again,
                a_signal_wakes_what_waits,
                what_has_ended_hears_nothing,
                only_what_failed_or_was_stopped_is_retried,
                a_step_is_answered_once,
                a_race_of_answers_has_one_winner,
            ];
            pools: [
                pools_are_made_changed_and_removed,
                units_are_taken_all_or_none,
                a_run_takes_its_units_once,
                units_are_given_back,
                who_waits_for_units_is_woken,
                a_changed_pool_wakes_who_waits,
                units_that_come_meanwhile_are_not_missed,
                a_race_takes_no_more_than_there_is,
            ];
            sources: [
                sources_are_kept_whole_and_listed,
                a_sources_name_is_taken_once,
                a_removed_source_takes_its_triggers_along,
            ];
            intake: [
                receipts_are_kept_whole_and_listed,
                a_request_starts_what_it_starts,
                a_repeated_request_is_a_duplicate,
                a_race_of_repeats_has_one_winner,
                old_receipts_are_removed,
            ];
            lifetime: [
                a_restart_keeps_everything,
                leases_grow_with_each_process,
                a_closed_store_refuses,
                a_store_tells_about_itself,
            ];
            simulation: [
                a_random_walk_agrees_with_the_model,
            ];
        }
    };
    (@tests $backend:expr; $($module:ident: [$($case:ident),* $(,)?];)*) => {
        $(
            mod $module {
                use super::*;
                $(
                    #[tokio::test]
                    async fn $case() {
                        $crate::conformance::$module::$case(&$backend).await;
                    }
                )*
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn every_case_is_in_the_list() {
        let list = include_str!("mod.rs");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
        let mut missing = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_str().unwrap();
            let source = fs::read_to_string(&path).unwrap();
            let listed = list
                .split(&format!("            {module}: [\n"))
                .nth(1)
                .and_then(|rest| rest.split("];").next())
                .unwrap_or_default();
            let cases = source
                .split("\npub async fn ")
                .skip(1)
                .filter_map(|rest| rest.split('(').next())
                .filter(|case| !listed.contains(&format!(" {case},\n")));
            missing.extend(cases.map(|case| format!("{module}::{case}")));
        }
        assert!(missing.is_empty(), "not in the list: {missing:?}");
    }
}
