"""Which behaviour tests are run for HTTP/2, too, and why the others are not.

A file here is run for both: its browsers then speak HTTP/2 while the test goes on in HTTP/1.1's spelling
(`http2_wire`). Below it are the tests that stay with HTTP/1.1, for what they look at is its spelling (the case of
names, reason phrases, chunks, absolute forms), its connection (Connection: close, half-closes, one request after the
other) or what no HTTP/2 carries (other upgrades than WebSockets, HTTP/1.0).

Not here, because all of it is about that: early answers, upgrades, pipelining, keep-alive, request framing, what is odd
but valid, left-over octets, logins bound to a connection (which HTTP/2 has not: `test_bound_login`), drains. Their
subjects have tests of their own in `tests/behaviour/http2`. And what costs seconds of waiting for things below both
protocols: the directory, processes, balancers, memory, garbage.
"""

from __future__ import annotations

BOTH: dict[str, tuple[str, ...]] = {
    "test_access_log.py": (
        "test_a_trace_passes_on_as_it_came_and_is_logged",
        "test_a_trace_that_is_none_passes_on_and_is_not_logged",
    ),
    "test_conversation.py": (),
    "test_date.py": (
        "test_interim_answers_and_switches_have_none",
        "test_the_gateways_own_answers_have_one",
    ),
    "test_every_reason.py": ("test_a_reason_in_every_form",),  # has a list of its own
    "test_hints.py": (),
    "test_interim_responses.py": (
        "test_an_app_that_refuses_is_heard_and_the_body_never_sent",
        "test_http_1_0_never_sees_one",
        "test_a_flood_is_read_in_small_pieces",  # costs too long, as do those of two hundred failures, large bodies
        "test_a_flood_waits_for_a_slow_reader",
    ),
    "test_limits.py": (
        "test_a_tunnel_is_an_exchange",
        "test_trailers_of_a_request_count_with_its_head",
    ),
    "test_limits_tell.py": (),
    "test_masked_host.py": (),
    "test_max_forwards.py": ("test_a_body_is_not_waited_for",),
    "test_one_at_a_time.py": (
        "test_a_login_is_not_claimed",
        "test_credentials_that_nobody_asked_for_keep_nobody_out",
    ),
    "test_other_sites.py": (),
    "test_redirect.py": (
        "test_the_target_is_kept",
        "test_what_is_no_request_is_refused_here_too",
    ),
    "test_refused_navigations.py": (
        "test_a_navigation_gets_a_page_however_its_head_arrives",
        "test_before_any_field_there_is_nothing_to_go_by",
    ),
    "test_sent_again.py": ("test_of_a_call_that_may_have_been_made_nothing_is_known",),
    "test_streaming.py": (
        "test_a_request_in_chunks_comes_chunk_by_chunk_with_trailers",
        "test_an_absolute_form_becomes_a_path",
        "test_an_answer_in_chunks_to_http_1_0_ends_with_the_connection",
        "test_every_answer_carries_a_request_id",
        "test_fields_keep_order_case_duplicates_and_octets",
        "test_fields_of_an_answer_keep_order_case_duplicates_and_octets",
        "test_hop_by_hop_fields_end_here",
        "test_trailers_of_an_answer",
        "test_the_app_is_told_who_asks",
        "test_a_trusted_proxy_is_believed",
        "test_a_body_in_tiny_chunks",
        "test_large_bodies_arrive_exactly",
    ),
    "test_upstream_failures.py": (
        "test_http_1_0_gets_what_came_before_the_reset",
        "test_http_1_0_is_reset",
        "test_two_hundred_failures_leave_counts_where_they_were",
    ),
    "test_websocket_refusal.py": ("test_a_url_may_ask_for_a_close_code",),
}
