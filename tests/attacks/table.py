"""Every attack that there is a defence against, and the tests that make it. What is not in here is not shown.

A row's tests may lie anywhere; nothing is tested twice. The rows are grouped by what the attack is after; a name in
brackets is that of the case.
"""

from __future__ import annotations

_THEFT = "attacks/test_exchange_theft.py::"
_CONNECTIONS = "attacks/test_exchange_connections.py::"
_STREAM = "attacks/test_exchange_stream.py::"
_MUCH = "attacks/test_exchange_availability.py::"
_PAGES = "attacks/test_exchange_pages.py::"
_INSIDE = "classroom/test_exchange_attacks.py::"
_CLIENT = "exchange/test_client.py::"
_IMPORT = "exchange/test_importing.py::"
_IDENTITY = "exchange/test_identity.py::"
_STOCK = "attacks/test_stock_exchange.py::"

EXCHANGE: dict[str, dict[str, list[str]]] = {
    "theft": {
        "planting a page": [
            f"{_THEFT}test_a_planted_page_is_never_fetched_and_no_teacher_collects_a_link",
            f"{_CLIENT}test_feedback_of_unknown_pages_is_not_fetched",
            f"{_CLIENT}test_released_feedback_is_of_known_pages_with_the_gradebooks_score",
            "exchange/test_ngshare.py::test_students_are_given_pages_of_known_notebooks_only",
        ],
        "a symlinked file or folder": [
            f"{_CLIENT}test_links_pipes_and_what_they_lead_to_are_not_sent",
            f"{_CLIENT}test_a_linked_folder_is_not_submitted",
            f"{_CLIENT}test_a_fetch_does_not_write_through_a_link",
            f"{_INSIDE}test_links_pipes_devices_and_planted_files_of_a_real_home_are_not_sent",
            "exchange/test_client_versions.py::test_a_link_is_neither_followed_nor_replaced",
            "exchange/test_client_outbox.py::test_links_and_pipes_in_a_kept_press_are_not_sent",
        ],
        "a hard link, a pipe, a device": [
            f"{_THEFT}test_hard_links_devices_and_pipes_in_a_students_folder",
            f"{_INSIDE}test_links_pipes_devices_and_planted_files_of_a_real_home_are_not_sent",
        ],
        "../, absolute, NUL, +, Unicode twins": [
            f"{_THEFT}test_no_name_leads_out_of_the_submission_or_onto_another_file",
            f"{_INSIDE}test_from_a_container_nobody_submits_for_another_or_at_another_time",
            "exchange/test_names.py::test_a_nasty_path_is_refused_with_its_reason",
            "exchange/test_names.py::test_whatever_passes_is_one_file_below_the_folder",
            "exchange/test_names.py::test_two_names_for_one_file_are_refused",
            "exchange/test_names.py::test_an_assignment_cannot_be_called_so",
        ],
        "a part's file name with a path": [
            f"{_STREAM}test_what_a_part_says_of_itself_beside_the_manifest_counts_for_nothing"
        ],
        "another student's id": [
            f"{_THEFT}test_a_submission_is_the_token_owners_whatever_the_manifest_and_headers_say",
            f"{_INSIDE}test_from_a_container_nobody_submits_for_another_or_at_another_time",
            "exchange/test_service.py::test_a_submission_is_its_senders_whatever_the_form_says",
            f"{_STOCK}test_anybody_submits_for_anybody_with_any_time",
        ],
        "another student's key": [f"{_STREAM}test_a_key_of_another_student_tells_nothing_and_takes_nothing_away"],
        "another student's submission, score or feedback": [
            f"{_THEFT}test_what_is_not_expressly_for_students_is_refused_to_them",
            f"{_THEFT}test_another_students_submission_or_feedback_is_not_found_by_guessing_its_time",
            "classroom/test_walls.py::test_the_exchange_gives_a_student_nothing_of_anybody_elses",
            f"{_STOCK}test_anybody_reads_changes_and_removes_anybodys_submission",
        ],
        "others' names, times and counts from lists, numbers, metrics": [
            f"{_THEFT}test_what_is_shown_of_a_class_at_work_tells_nothing_of_the_others",
            f"{_MUCH}test_no_number_of_a_job_is_a_fault_of_the_services",
            "exchange/test_overview.py::test_everybody_sees_their_own_submissions_and_deadline_only",
            "exchange/test_desk.py::test_a_student_sees_their_own_deadline_and_nobody_elses_extension",
            "exchange/test_watching.py::test_metrics_are_for_operators_and_name_nobody",
            "exchange/test_watching.py::test_the_page_says_that_nothing_can_be_stored_and_why_and_nothing_more",
        ],
        "a forged or 1999 time": [
            f"{_THEFT}test_a_submission_is_written_for_the_teacher_with_the_servers_time_whatever_it_holds",
            f"{_STREAM}test_a_claim_of_having_pressed_earlier_moves_nothing",
            "exchange/test_streams.py::test_one_that_was_queued_is_late_by_its_arrival_whatever_its_own_clock_says",
            f"{_STOCK}test_anybody_submits_for_anybody_with_any_time",
        ],
        "headers before the deadline, and the work itself trickling in after it": [
            "exchange/test_streams.py::test_what_the_work_is_must_be_said_soon_after_the_headers"
        ],
        "a deadline or an extension of one's own making": [
            "exchange/test_desk.py::test_only_teachers_set_deadlines_and_only_for_what_there_is",
            f"{_THEFT}test_what_is_not_expressly_for_students_is_refused_to_them",
        ],
        "a version that one does not answer": [f"{_STREAM}test_a_version_that_there_is_not_is_refused_or_the_newest"],
        "a guessed, revoked or expired token": [
            f"{_IDENTITY}test_a_token_that_the_hub_refuses_is_nobodys",
            f"{_IDENTITY}test_an_answer_is_remembered_only_briefly",
            "exchange/test_service.py::test_without_a_users_token_nobody_is_let_in",
            f"{_CLIENT}test_an_expired_token_is_told_in_words",
        ],
        "another course's or another service's token": [
            f"{_THEFT}test_a_token_of_another_course_or_service_opens_nothing",
            f"{_IDENTITY}test_anything_else_is_nobody",
            "exchange/test_service.py::test_a_service_or_a_token_without_the_scope_is_nobody",
        ],
        "the hub's API, metadata addresses and DNS from a student's code": [
            "classroom/test_walls.py::test_the_hubs_admin_api_refuses_a_students_token",
            "classroom/test_walls.py::test_metadata_and_private_addresses_are_closed",
            "classroom/test_walls.py::test_no_name_outside_is_resolved_and_the_error_comes_at_once",
        ],
        "one request read as two": [
            f"{_CONNECTIONS}test_a_length_that_can_be_read_in_two_ways_is_refused",
            f"{_CONNECTIONS}test_where_both_lengths_are_given_the_chunks_count_and_nothing_is_smuggled",
            f"{_CONNECTIONS}test_after_a_refusal_the_rest_of_the_connection_is_not_read_as_a_request",
            f"{_CONNECTIONS}test_headers_that_mean_something_elsewhere_change_nothing_here",
        ],
        "a folder to import that was made by somebody else": [
            f"{_IMPORT}test_nobody_becomes_an_instructor_by_a_file",
            f"{_IMPORT}test_a_line_that_lies_is_left_out_and_named",
            f"{_IMPORT}test_what_is_no_plain_file_with_a_safe_name_is_left_out_and_the_rest_taken",
            f"{_IMPORT}test_a_submission_that_is_a_link_is_not_followed",
            f"{_IMPORT}test_a_course_that_is_a_link_holds_nothing",
            f"{_IMPORT}test_a_folder_with_an_impossible_name_is_left_out_and_named",
            "exchange/test_exporting.py::test_nbgraders_own_files_are_ours_and_not_what_a_student_put_there",
        ],
    },
    "availability": {
        "1 TB, or a sparse file": [
            f"{_MUCH}test_a_sparse_terabyte_is_left_out_at_once_and_the_notebook_is_sent",
            "exchange/test_service.py::test_a_terabyte_is_refused_before_any_of_it_is_sent",
            "exchange/test_streams.py::test_a_terabyte_is_refused_before_any_of_it_is_sent",
            f"{_IMPORT}test_a_sparse_terabyte_is_not_read",
        ],
        "a base64, zip or JSON bomb": [
            f"{_MUCH}test_base64_is_measured_before_it_is_decoded",
            f"{_MUCH}test_a_zip_bomb_stays_what_it_is",
            f"{_CONNECTIONS}test_a_compressed_body_is_refused_unopened",
            "exchange/test_service.py::test_a_body_made_to_hurt_is_refused",
        ],
        "not JSON, or JSON nested 100,000 deep": [
            f"{_MUCH}test_json_made_to_hurt_is_refused_while_others_submit",
            f"{_MUCH}test_half_a_character_in_a_name_is_refused",
            f"{_STREAM}test_a_form_that_is_not_what_it_seems_is_refused_and_leaves_nothing",
        ],
        "100,000 files": [
            f"{_MUCH}test_a_hundred_thousand_files_are_refused_with_the_number_and_not_read",
            f"{_STREAM}test_a_form_that_is_not_what_it_seems_is_refused_and_leaves_nothing",
        ],
        "a line of 30 MB": [f"{_MUCH}test_one_line_of_nearly_the_limit_is_a_file_like_any_other"],
        "a form that is not what it seems": [
            f"{_STREAM}test_a_form_that_is_not_what_it_seems_is_refused_and_leaves_nothing",
            f"{_STREAM}test_what_follows_the_end_of_the_form_is_thrown_away",
            "exchange/test_streams.py::test_what_comes_otherwise_than_announced_leaves_nothing",
        ],
        "an endless or slow body": [
            "exchange/test_service.py::test_an_endless_stream_is_cut_off_at_the_limit",
            "exchange/test_streams.py::test_others_do_not_notice_somebody_who_sends_a_byte_at_a_time",
            "exchange/test_streams.py::test_one_that_sends_nothing_for_long_is_given_up_and_told",
            "exchange/test_streams.py::test_one_that_takes_too_long_altogether_is_given_up",
            f"{_CONNECTIONS}test_chunks_with_odd_extensions_are_the_same_content_or_refused",
            f"{_CONNECTIONS}test_an_endless_chunk_extension_is_refused",
        ],
        "many connections of one student": [
            f"{_CONNECTIONS}test_one_container_with_a_thousand_silent_connections_does_not_shut_the_others_out",
            f"{_CONNECTIONS}test_a_connection_without_a_request_is_closed_after_a_while",
            f"{_INSIDE}test_one_containers_connections_are_bounded_and_a_neighbour_does_not_notice",
        ],
        "answers that nobody reads": [f"{_CONNECTIONS}test_answers_that_nobody_reads_do_not_fill_the_memory"],
        "large uploads of many, and an attack beside": [
            f"{_CONNECTIONS}test_forty_large_uploads_during_an_attack_get_their_receipts_in_little_memory"
        ],
        "disk and inodes, filled by one student": [
            f"{_MUCH}test_nothing_tiny_or_empty_gets_around_the_room_that_one_student_has",
            "exchange/test_store.py::test_below_the_reserve_nothing_is_taken_and_all_else_goes_on",
            "exchange/test_service.py::test_a_full_quota_is_refused_and_the_earlier_ones_are_safe",
        ],
        "many tokens": [
            f"{_MUCH}test_a_flood_of_guessed_tokens_makes_the_service_forget_nobody",
            f"{_IDENTITY}test_remembered_tokens_are_bounded",
        ],
        "many keys": [f"{_STREAM}test_many_keys_are_as_many_submissions_as_a_minute_allows"],
        "the grader, kept busy by one student": [
            f"{_MUCH}test_the_class_does_not_wait_for_one_who_submits_all_the_time"
        ],
        "a submission that stops the grader or the teacher's collecting": [
            f"{_THEFT}test_a_submission_is_written_for_the_teacher_with_the_servers_time_whatever_it_holds",
            "grader/test_worker.py::test_a_submission_that_kills_its_process_every_time_fails_and_the_next_is_graded",
        ],
    },
    "page": {
        "a script in the name of a file, an assignment, a student": [
            f"{_PAGES}test_a_script_in_a_name_is_refused_or_comes_back_as_data",
            f"{_PAGES}test_an_answer_to_nonsense_is_plain_text",
            f"{_PAGES}test_the_docs_page_escapes_what_it_shows",
            "exchange/test_service.py::test_no_answer_can_act_in_a_browser",
        ],
        "a script in a feedback page": [
            "grader/test_grading.py::test_nothing_a_student_wrote_runs_in_the_teachers_page",
            "grader/test_feedback_page.py::test_opened_as_a_file_it_does_nothing_while_the_page_without_its_policy_acts",
            "grader/test_feedback_page.py::test_opened_in_lab_it_does_nothing_even_when_it_is_trusted",
        ],
    },
    "must pass": {
        "submit pressed twice": [
            "exchange/test_streams.py::test_one_press_sent_twice_at_once_is_one_submission",
            f"{_STREAM}test_two_contents_under_one_key_at_the_same_moment_are_one_submission",
            f"{_CONNECTIONS}test_two_requests_in_one_go_are_answered_one_after_the_other",
            f"{_CONNECTIONS}test_a_key_given_twice_is_one_of_the_two_and_no_third",
            "exchange/test_client_sending.py::test_pressed_again_with_the_same_content_is_one_submission",
        ],
        "80 at once, with the exchange killed and the hub away": [
            "attacks/test_exchange_must_pass.py::"
            "test_eighty_at_once_with_the_exchange_killed_and_the_hub_away_lose_and_double_nothing"
        ],
        "a connection cut at any byte": [
            f"{_STREAM}test_a_request_cut_at_any_byte_and_sent_again_is_one_whole_submission"
        ],
        "an older kind of client": [f"{_CONNECTIONS}test_http_1_0_is_answered_and_closed"],
        "the exchange killed at any moment": [
            "exchange/test_service.py::test_every_receipt_has_its_submission_after_kill_9",
            "exchange/test_store.py::test_every_receipt_has_its_submission_after_kill_9_and_leftovers_go",
            "exchange/test_crashes.py::test_no_kill_loses_a_receipt_or_doubles_a_submission",
        ],
        "a power cut at any moment": [
            "exchange/test_durability.py::test_everything_a_receipt_names_is_synced_before_the_receipt_is_sent",
            "exchange/test_durability.py::test_no_receipt_is_lost_by_a_power_cut_at_any_moment",
        ],
        "the hub killed or away": [
            "classroom/test_restart.py::test_killing_the_hub_touches_no_kernel_and_no_other_process",
            "exchange/test_service.py::test_while_the_hub_is_down_those_just_seen_go_on_and_others_are_told",
        ],
        "the worker killed": [
            "images/test_grading.py::test_a_worker_that_is_killed_grades_every_submission_once_after_its_restart",
            "grader/test_worker.py::test_a_job_that_was_cut_short_is_graded_once_after_the_restart",
        ],
    },
}

_SCORE = "attacks/test_score.py::test_an_attack_gives_no_points"
_BITES = "attacks/test_score.py::test_the_attack_gives_points_under_stock_nbgrader"
_LIES = "attacks/test_submissions.py::test_metadata_that_lies_changes_no_score"
_THIEF = "attacks/test_submissions.py::test_a_thief_gets_nothing_and_keeps_what_is_earned"
_ROBBED = "attacks/test_submissions.py::test_stock_nbgrader_is_robbed_of_scores_tests_and_pages"
_LESS = "attacks/test_submissions.py::test_stock_nbgrader_gives_it_less_than_it_is_worth"
_STOPS = "attacks/test_submissions.py::test_what_is_made_to_stop_grading_gets_its_own_score_and_stops_nothing"
_HONEST = "attacks/test_submissions.py::test_honest_work_among_all_that_gets_its_score"
_ACTS = "attacks/test_submissions.py::test_nothing_in_a_feedback_page_acts"
_WIRE = "grader/test_referee.py::test_no_lie_on_the_wire_passes_a_test"
_HOG = "images/test_sandbox.py::test_a_hog_harms_at_most_its_own_cell"
_ENDS = "images/test_sandbox.py::test_what_ends_a_sandbox_costs_nothing_else_and_ends_in_time"
_FILES = "grader/test_sanitise.py::test_files_that_are_no_plain_files_put_the_submission_aside"
_WALLS = "images/test_sandbox.py::test_there_is_nothing_to_reach_and_nothing_to_write_to"


def _both(*cases: str) -> list[str]:
    """An attack on the score, and the proof that it bites stock nbgrader."""
    return [f"{test}[{case}]" for case in cases for test in (_SCORE, _BITES)]


GRADING: dict[str, dict[str, list[str]]] = {
    "score": {
        "an input or AST transformer that drops code": _both("input transformer", "AST transformer"),
        "the kernel's do_execute replaced": _both("do_execute replaced"),
        "run_cell patched": _both("run_cell patched"),
        "showtraceback or a custom exception handler silenced": [
            f"{_SCORE}[showtraceback silenced]",
            f"{_SCORE}[custom exception handler]",
        ],
        "an object whose __eq__, __float__, __bool__ lies": _both(
            "object that lies", "number that lies", "tensor that lies"
        ),
        "patched torch.allclose, np.testing, builtins": _both(
            "torch.allclose patched", "np.testing patched", "builtins patched", "helper of the tests redefined"
        ),
        "forged messages on the kernel's sockets": _both("messages of the kernel forged", "sockets of the kernel"),
        "visible answers hard-coded": [f"{_SCORE}[answers hard-coded]"],
        "numpy.py, torch.py, sitecustomize.py beside the notebook": [
            *_both("a torch.py beside the notebook", "a numpy.py beside the notebook"),
            f"{_SCORE}[a sitecustomize.py beside the notebook]",
            "grader/test_agent.py::test_files_lie_beside_the_notebook_and_do_not_shadow_modules",
        ],
        "writing straight to the sandbox's result channel": [
            f"{_SCORE}[verdicts written to every descriptor]",
            f"{_SCORE}[the agent's own door patched]",
            f"{_WIRE}[a verdict]",
            f"{_WIRE}[an object that claims to be anything]",
            "grader/test_door.py::test_whatever_a_hostile_side_describes_is_plain_data_or_refused",
            "grader/test_door.py::test_whatever_a_hostile_side_sends_is_a_message_or_refused",
        ],
        "gaps that a test's author leaves": [
            "attacks/test_gaps.py::test_a_wrong_answer_does_not_slip_through",
            "attacks/test_gaps.py::test_it_slips_through_with_stock_nbgrader",
            "attacks/test_gaps.py::test_the_right_answer_is_full",
        ],
        "the test's own frames": [f"{_SCORE}[the frames above searched]"],
        "call-backs": [f"{_SCORE}[everything is a call-back]"],
    },
    "metadata": {
        "a test turned into a solution": [
            f"{_LIES}[a test turned into an answer]",
            f"{_LIES}[a test turned into an answer, and emptied]",
            f"{_LESS}[a test turned into an answer]",
        ],
        "grade: false, points 1e9 or NaN": [f"{_LIES}[{each}]" for each in ("grade false", "points 1e9", "points NaN")],
        "metadata or grade_id removed": [f"{_LIES}[metadata removed]", f"{_LIES}[grade_id removed]"],
        "a duplicated id": [
            f"{_LIES}[a test twice, the second empty]",
            f"{_LIES}[an answer twice]",
            f"{_LESS}[a test twice, the second empty]",
        ],
        "a test retyped as markdown": [f"{_LIES}[a test retyped]"],
        "tests deleted": [f"{_LIES}[tests deleted]", f"{_LESS}[tests deleted]"],
        "cells reordered": [
            f"{_LIES}[cells reordered]",
            f"{_LESS}[cells reordered]",
            "grader/test_sanitise.py::test_an_answer_that_was_moved_to_the_end_still_comes_before_its_tests",
        ],
        "outputs filled in beforehand": [f"{_LIES}[outputs filled in]"],
        "a foreign, null or missing kernelspec": [
            *(f"{_LIES}[{each}]" for each in ("a foreign kernel", "a null kernel", "no kernel")),
            f"{_LESS}[a null kernel]",
        ],
        "an old release of the assignment": [
            f"{_LIES}[an old release]",
            f"{_LIES}[an old release of another format]",
            f"{_LESS}[an old release of another format]",
            "grader/test_grading.py::test_points_come_from_the_gradebook_also_for_an_old_release",
        ],
        "extra cells": [f"{_LIES}[cells of its own]"],
        "anything at all": ["grader/test_sanitise.py::test_whatever_is_sent_is_rebuilt_or_quarantined"],
    },
    "theft": {
        "writing the gradebook": [f"{_THIEF}[writing the gradebook]", _ROBBED],
        "reading the source": [
            f"{_THIEF}[reading the source]",
            _ROBBED,
            "grader/test_grading.py::test_code_that_reads_a_hidden_test_cannot_show_it",
            "grader/test_grading.py::test_no_number_in_a_later_cell_tells_what_a_hidden_test_asked",
        ],
        "planting HTML": [f"{_THIEF}[planting a page]", f"{_THIEF}[a planted page beside the notebook]", _ROBBED],
        "a symlinked file or folder": [
            f"{_THIEF}[a symlinked file]",
            f"{_THIEF}[a symlinked folder]",
            "grader/test_sanitise.py::test_a_submission_folder_that_is_a_link_is_put_aside",
        ],
        "a hard link, a FIFO, a device": [f"{_THIEF}[a hard link]", f"{_THIEF}[a FIFO]", f"{_THIEF}[a device]", _FILES],
        "../, absolute, NUL, +, Unicode twins": [
            f"{_THIEF}[names that no path should have]",
            f"{_THIEF}[two notebooks whose names differ only in Unicode form]",
            *EXCHANGE["theft"]["../, absolute, NUL, +, Unicode twins"],
        ],
        "another student's id, another course's token": [
            *EXCHANGE["theft"]["another student's id"],
            *EXCHANGE["theft"]["another course's or another service's token"],
        ],
        "a forged or 1999 timestamp": [
            f"{_THIEF}[a timestamp of 1999]",
            f"{_THIEF}[a timestamp that is none]",
            f"{_LESS}[a timestamp that is none]",
            *EXCHANGE["theft"]["a forged or 1999 time"],
        ],
        "hub API, metadata address, DNS from student code": [f"{_THIEF}[hub, metadata, DNS]", _WALLS],
    },
    "availability": {
        "an infinite loop": [
            f"{_STOPS}[an infinite loop]",
            f"{_STOPS}[an infinite loop in a function that tests call]",
            f"{_ENDS}[loop in C]",
        ],
        "SIGINT ignored": [f"{_STOPS}[an infinite loop that ignores SIGINT]", f"{_ENDS}[stubborn loop]"],
        "os._exit": [
            f"{_STOPS}[os._exit]",
            f"{_STOPS}[os._exit in a function that tests call]",
            f"{_ENDS}[kills itself]",
            "grader/test_grading.py::test_a_notebook_that_ends_python_again_and_again_is_begun_anew_only_so_often",
        ],
        "a fork bomb": [f"{_STOPS}[a fork bomb]", f"{_HOG}[fork bomb in the shell]", f"{_HOG}[threads]"],
        "a memory, shm or GPU-memory hog": [
            f"{_STOPS}[a memory hog]",
            f"{_STOPS}[a shared memory hog]",
            f"{_ENDS}[memory in shared memory]",
            "grader/test_sandbox.py::test_the_whole_request_for_a_sandbox",
        ],
        "a disk or inode fill": [f"{_STOPS}[a disk filler]", f"{_STOPS}[an inode filler]"],
        "a 30 MB line, a million messages": [f"{_STOPS}[a line of 30 MB]", f"{_STOPS}[a million messages]"],
        "a daemon that stays": [f"{_STOPS}[a daemon that stays]", f"{_HOG}[kill all others]"],
        "a base64 or zip bomb, a 1 TB sparse file": [
            *(f"{_STOPS}[{each}]" for each in ("a zip bomb", "base64 of 20 MB", "a sparse terabyte")),
            f"{_HOG}[sparse file]",
        ],
        "not JSON, JSON nested 100,000 deep, 100,000 cells": [
            f"{_STOPS}[{each}]" for each in ("not JSON", "JSON nested 100,000 deep", "100,000 cells")
        ],
        "input()": [f"{_STOPS}[input()]"],
        "a result stream that never ends": [
            f"{_STOPS}[a result stream that never ends]",
            f"{_ENDS}[endless stream]",
            f"{_ENDS}[trickle]",
            f"{_WIRE}[questions without end]",
            "grader/test_sandbox.py::test_a_trickle_does_not_extend_the_deadline",
        ],
        "a grading process that dies": [
            "grader/test_worker.py::test_a_submission_that_kills_its_process_every_time_fails_and_the_next_is_graded"
        ],
    },
    "page": {
        "a script in output, markdown, file name or student name": [
            _ACTS,
            "attacks/test_submissions.py::test_a_script_costs_and_gives_nothing",
            "attacks/test_submissions.py::test_a_page_that_acts_would_be_found",
            *EXCHANGE["page"]["a script in a feedback page"],
        ],
        "text made to be slow to show": [
            "grader/test_markup.py::test_text_made_to_be_slow_is_shown_as_it_was_typed",
            "grader/test_markup.py::test_many_slow_cells_make_no_slow_page",
        ],
        "a script in a student's own Lab": [
            "classroom/test_walls.py::test_another_students_server_does_not_open_through_the_site",
            "images/test_server.py::test_only_an_instructor_with_an_own_domain_has_pages_in_frames",
        ],
    },
    "must pass": {
        "correct with tqdm and warnings on stderr": [
            f"{_HONEST}[right, with a progress bar and warnings on stderr]",
            f"{_LESS}[right, with a progress bar and warnings on stderr]",
            "grader/test_grading.py::test_warnings_and_progress_bars_on_stderr_cost_nothing",
        ],
        "blank gets 0, the reference full": [
            f"{_HONEST}[blank]",
            f"{_HONEST}[right]",
            f"{_HONEST}[half right]",
            "attacks/test_score.py::test_the_right_answer_is_full",
        ],
        "submit pressed twice": EXCHANGE["must pass"]["submit pressed twice"],
        "the worker killed": EXCHANGE["must pass"]["the worker killed"],
    },
}
