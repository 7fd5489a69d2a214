"""The documents: what runs each block of code, what is generated is current, and no link is dead; they build."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adapters.api.description.problems import codes
from docs.generate import CODES, PARTS, REFERENCE, SETTINGS, command_names, current, settings
from entrypoints.settings import Settings
from tests.architecture.source import ROOT
from tests.documents import Block, block, blocks, page, pages
from tests.requirements import require

README_OCTETS = 8_192
COMPONENT = "docs/how-to/component.md"
DOCUMENTS = "tests/e2e/test_documents.py::"
RELOADING = "tests/e2e/test_reloading.py::"
RECIPES = "tests/e2e/test_recipes.py::"
EXAMPLES = "tests/e2e/test_examples.py::test_what_their_readme_says_to_type_starts_them"
OUTBOX = f"{RECIPES}test_an_outbox_loses_nothing_and_sends_nothing_twice"
SWAPPING = "tests/architecture/test_swapping.py::test_what_the_document_says_is_all_that_a_new_adapter_touches"
SERVED = f"{DOCUMENTS}test_serve_connect_publish_and_see_it_on_both_devices_only"
INBOX_PAGE = f"{DOCUMENTS}test_the_page_with_the_inbox_shows_it_and_marks_as_read"
RIGHTS = "tests/e2e/test_postgresql.py::test_a_role_that_may_only_read_and_write_rows_serves"
IN_SQL = "tests/e2e/test_publish_in_sql.py::"
README_SHOWS = "tests/architecture/test_documents.py::test_the_readme_shows_what_the_tutorial_has"
BY_HAND = "tests/e2e/test_cluster_documents.py::test_two_nodes_behind_nginx_by_hand"
RESTORED = "tests/e2e/test_cluster_documents.py::test_what_was_restored_refuses_what_it_lost"
OPERATORS = "tests/e2e/test_operators_documents.py::"
EXPORTED = "tests/e2e/test_exporting.py::test_what_the_page_says_to_type_carries_a_store_over"
REVOKING = "tests/e2e/test_revoking.py::test_what_the_document_says_to_type_revokes_and_blocks"
WHY = "tests/integration/test_deliveries_api.py::test_the_command_says_what_the_page_shows"
AMENDMENTS = "tests/integration/test_amendments_api.py::test_what_the_page_says_to_type_changes_it_and_takes_it_back"
ERASING = "tests/integration/test_erasures_api.py::test_what_the_page_says_to_type_exports_and_erases"
ERASED_FILES = "tests/integration/test_postgresql_files.py::test_nothing_is_left_behind_what_the_page_says"
GROUPS = "tests/integration/test_topics_api.py::test_what_the_page_says_to_type_makes_a_group"
SNOOZED = "tests/unit/domain/test_snoozing.py::test_it_is_gone_and_comes_back_on_every_device"
SCHEDULED = "tests/integration/test_schedule_api.py::test_what_the_page_says_to_type_schedules_it"
COLLAPSING = "tests/integration/test_collapse_api.py::test_what_the_page_says_to_type_replaces_it"
WHAT_BECAME = "tests/integration/test_notifications_api.py::test_what_the_page_says_to_type_answers_as_it_shows"
OPS_PAGE = "tests/integration/test_ops_page.py::test_the_settings_of_the_document_serve_the_page"
GENERATED = "tests/architecture/test_documents.py::test_what_is_generated_is_current"
THE_KEY = "tests/architecture/test_documents.py::test_the_key_of_the_examples_is_that_of_api"


@dataclass(frozen=True, slots=True)
class NotRun:
    """Why a block of code is not run."""

    reason: str


RUNNERS: dict[tuple[str, str, str], str | NotRun] = {
    ("README.md", "bash", "make demo"): NotRun("tests/e2e/test_demo_page.py runs the same command without make"),
    ("README.md", "bash", "make test"): NotRun("it runs these tests"),
    ("README.md", "bash", "cat >"): README_SHOWS,
    ("README.md", "bash", "synkrone-socket serve"): README_SHOWS,
    ("README.md", "html", "<!doctype html>"): README_SHOWS,
    ("README.md", "bash", "http.server"): README_SHOWS,
    ("README.md", "bash", "/v1/notifications"): README_SHOWS,
    ("docs/explanation/proof.md", "bash", "make prove"): NotRun("tests/prove/test_prove.py runs it without make"),
    ("docs/tutorial/page.md", "bash", "cat >"): SERVED,
    ("docs/tutorial/page.md", "bash", "synkrone-socket serve"): SERVED,
    ("docs/tutorial/page.md", "html", "<synkrone-inbox"): f"{DOCUMENTS}test_the_page_with_the_component_shows_it",
    ("docs/tutorial/page.md", "bash", "http.server"): INBOX_PAGE,
    ("docs/tutorial/page.md", "bash", "/v1/notifications"): SERVED,
    ("docs/tutorial/backend.md", "python", "notify_surely"): (
        f"{RECIPES}test_a_backend_that_is_to_be_sure_tries_again_and_gives_up_what_cannot_succeed"
    ),
    ("docs/tutorial/backend.md", "js", "notifySurely"): (
        f"{RECIPES}test_a_backend_that_is_to_be_sure_tries_again_and_gives_up_what_cannot_succeed"
    ),
    ("docs/tutorial/backend.md", "python", "sys.argv"): (
        f"{RECIPES}test_the_backend_of_the_tutorial_publishes_once_and_the_inbox_is_read"
    ),
    ("docs/tutorial/backend.md", "bash", "backend.py"): (
        f"{RECIPES}test_the_backend_of_the_tutorial_publishes_once_and_the_inbox_is_read"
    ),
    ("docs/tutorial/read-state.md", "bash", "state=unread"): (
        f"{RECIPES}test_the_backend_of_the_tutorial_publishes_once_and_the_inbox_is_read"
    ),
    ("docs/tutorial/read-state.md", "bash", "read_all"): (
        f"{RECIPES}test_the_backend_of_the_tutorial_publishes_once_and_the_inbox_is_read"
    ),
    ("docs/how-to/list-then-live.md", "html", "io("): f"{DOCUMENTS}test_the_page_shows_the_notification",
    ("docs/how-to/list-then-live.md", "js", "asOf"): f"{RECIPES}test_a_page_goes_on_where_its_list_ends",
    ("docs/how-to/store.md", "html", "createInbox"): INBOX_PAGE,
    ("docs/how-to/store.md", "js", "sign-out"): f"{RECIPES}test_the_store_in_plain_javascript_draws_what_it_keeps",
    ("docs/how-to/store.md", "bash", "curl"): f"{RECIPES}test_a_copy_of_the_module_has_all_that_it_loads",
    ("docs/how-to/react.md", "jsx", "useSyncExternalStore"): (
        f"{RECIPES}test_react_renders_on_the_server_hydrates_and_stays_live"
    ),
    ("docs/how-to/react.md", "jsx", "<Inbox key="): (
        f"{RECIPES}test_react_renders_on_the_server_hydrates_and_stays_live"
    ),
    ("docs/how-to/react.md", "js", "listInbox"): f"{RECIPES}test_react_renders_on_the_server_hydrates_and_stays_live",
    ("docs/how-to/vue-svelte.md", "js", 'from "vue'): f"{RECIPES}test_vue_and_svelte_follow_the_store",
    ("docs/how-to/vue-svelte.md", "js", 'from "svelte'): f"{RECIPES}test_vue_and_svelte_follow_the_store",
    ("docs/how-to/javascript.md", "js", "process.argv"): SERVED,
    ("docs/how-to/javascript.md", "js", "getToken"): (
        f"{DOCUMENTS}test_a_client_whose_token_cannot_be_had_comes_back_when_it_can"
    ),
    ("docs/how-to/python.md", "bash", "pip install"): NotRun("it installs from a registry; the tests' extras have it"),
    ("docs/how-to/python.md", "python", "socketio.AsyncClient"): SERVED,
    ("docs/how-to/python.md", "python", "kept"): (
        f"{RECIPES}test_a_python_client_that_keeps_its_cursor_misses_nothing"
    ),
    ("docs/how-to/mobile.md", "js", "react-native"): NotRun("it needs React Native on a device"),
    ("docs/how-to/mobile.md", "dart", "OptionBuilder"): NotRun("it needs the Dart SDK"),
    ("docs/how-to/mobile.md", "swift", "SocketManager"): NotRun("it needs Swift and its client"),
    ("docs/how-to/mobile.md", "kotlin", "IO.Options"): NotRun("it needs Kotlin and its client"),
    ("docs/how-to/switch-users.md", "js", "signOut"): f"{RECIPES}test_another_user_of_a_page_sees_only_their_own",
    ("docs/how-to/tabs.md", "js", "navigator.locks"): f"{RECIPES}test_one_tab_of_several_plays_the_sound",
    ("docs/how-to/component.md", "css", "::part"): f"{RECIPES}test_the_component_looks_and_speaks_as_the_page_says",
    ("docs/how-to/component.md", "js", "messages"): f"{RECIPES}test_the_component_looks_and_speaks_as_the_page_says",
    ("docs/how-to/localise.md", "js", "titleOf"): f"{RECIPES}test_a_title_is_in_the_reader_s_language",
    (
        "docs/how-to/outbox.md",
        "python",
        "send_outbox",
    ): OUTBOX,
    ("docs/how-to/publish-in-sql.md", "sql", "GRANT"): f"{IN_SQL}test_plain_sql",
    ("docs/how-to/publish-in-sql.md", "sql", "BEGIN"): f"{IN_SQL}test_plain_sql",
    ("docs/how-to/publish-in-sql.md", "python", "import psycopg"): f"{IN_SQL}test_psycopg",
    ("docs/how-to/publish-in-sql.md", "python", "sqlalchemy"): f"{IN_SQL}test_sqlalchemy",
    ("docs/how-to/publish-in-sql.md", "js", "PrismaClient"): f"{IN_SQL}test_prisma",
    ("docs/how-to/proxies.md", "nginx", "upgrade"): (
        "tests/e2e/test_proxy_and_tls.py::test_the_default_client_behind_a_proxy"
    ),
    ("docs/how-to/deploy.md", "bash", "systemctl"): NotRun(
        "it needs systemd as the first process; test_deploy_systemd.py has systemd look at the units"
    ),
    ("docs/how-to/deploy.md", "bash", "--workers"): (
        "tests/e2e/test_workers.py::test_workers_serve_one_port_and_drain_together"
    ),
    ("docs/how-to/trace.md", "bash", "pip install"): NotRun(
        "it needs a registry; the extra is among those of the tests"
    ),
    (
        "docs/how-to/trace.md",
        "toml",
        "[otel]",
    ): "tests/integration/test_otlp.py::test_the_settings_of_the_page_are_good",
    ("docs/how-to/deploy.md", "bash", "docker build"): NotRun("it needs a container runtime and a registry"),
    ("docs/how-to/monitor.md", "yaml", "scrape_configs"): (
        "tests/architecture/test_monitoring.py::test_the_configuration_of_the_page_is_one"
    ),
    ("docs/how-to/backup.md", "bash", "systemctl stop"): NotRun("it needs systemd as the first process"),
    ("docs/how-to/reload.md", "bash", "systemctl restart"): NotRun("it needs systemd as the first process"),
    ("docs/how-to/deploy.md", "ini", "store_password"): NotRun("it needs systemd as the first process"),
    ("docs/how-to/reload.md", "bash", "kill -HUP"): f"{RELOADING}test_what_the_page_says_to_type_reloads",
    ("docs/how-to/reload.md", "bash", "/admin/reload"): f"{RELOADING}test_what_the_page_says_to_type_reloads",
    ("docs/how-to/reload.md", "json", "needs_restart"): f"{RELOADING}test_what_the_page_says_to_type_reloads",
    ("docs/how-to/reload.md", "json", "oct"): (
        "tests/integration/test_secret_sets.py::test_the_set_of_the_page_on_reloading_is_one"
    ),
    ("docs/how-to/deploy.md", "bash", "kubectl"): NotRun(
        "it needs a cluster; test_deploy_kubernetes.py looks at the manifests"
    ),
    (
        "docs/how-to/operate.md",
        "bash",
        "/health/ready",
    ): f"{OPERATORS}test_somebody_woken_at_night_is_told_what_is_wrong",
    ("docs/how-to/operate.md", "bash", "journalctl"): NotRun("it needs the journal of systemd"),
    ("docs/how-to/operate.md", "bash", "synkrone()"): (
        f"{OPERATORS}test_the_commands_of_the_page_have_the_settings_of_the_service"
    ),
    ("docs/how-to/operate.md", "bash", "doctor --url"): (
        f"{OPERATORS}test_the_commands_of_the_page_have_the_settings_of_the_service"
    ),
    ("docs/how-to/operate.md", "bash", "/connections"): f"{OPERATORS}test_one_user_is_looked_up",
    ("docs/how-to/operate.md", "bash", "/v1/inbox"): f"{OPERATORS}test_one_user_is_looked_up",
    ("docs/how-to/upgrade.md", "bash", "sqlite3"): f"{OPERATORS}test_the_form_of_a_store_is_said",
    ("docs/how-to/upgrade.md", "sql", "schema_versions"): f"{OPERATORS}test_the_form_of_a_database_is_said",
    ("docs/how-to/upgrade.md", "bash", "check-config"): f"{OPERATORS}test_the_form_of_a_store_is_said",
    ("docs/how-to/cluster.md", "bash", "mkdir -m 700"): NotRun(
        "compose needs a container runtime; test_cluster_documents.py looks at its file, and makes the secrets"
    ),
    ("docs/how-to/cluster.md", "bash", "curl http"): NotRun("it asks what compose has started"),
    ("docs/how-to/cluster.md", "bash", "kill node-1"): NotRun("it kills what compose has started"),
    ("docs/how-to/cluster.md", "bash", "apt-get"): NotRun("it installs from registries"),
    ("docs/how-to/cluster.md", "bash", "CREATE ROLE"): BY_HAND,
    ("docs/how-to/cluster.md", "bash", "cat > synkrone.toml"): BY_HAND,
    ("docs/how-to/cluster.md", "bash", "SYNKRONE_PORT=8001"): BY_HAND,
    ("docs/how-to/cluster.md", "bash", "SYNKRONE_PORT=8002"): BY_HAND,
    ("docs/how-to/cluster.md", "bash", "nginx -p"): BY_HAND,
    ("docs/how-to/cluster.md", "bash", "synkrone-socket listen"): BY_HAND,
    ("docs/how-to/cluster.md", "bash", "synkrone-socket publish"): BY_HAND,
    ("docs/how-to/cluster.md", "bash", "pg_dump"): RESTORED,
    ("docs/how-to/cluster.md", "bash", "pg_restore"): RESTORED,
    ("docs/how-to/what-became.md", "bash", "/recipients"): WHAT_BECAME,
    ("docs/how-to/what-became.md", "bash", "/inbox/read"): WHAT_BECAME,
    ("docs/how-to/what-became.md", "json", '"counts"'): WHAT_BECAME,
    ("docs/how-to/what-became.md", "json", '"deleted_at"'): WHAT_BECAME,
    ("docs/how-to/schedule.md", "bash", "deliver_at"): SCHEDULED,
    ("docs/how-to/schedule.md", "bash", "-X DELETE"): SCHEDULED,
    ("docs/how-to/collapse.md", "bash", "collapse_key"): COLLAPSING,
    ("docs/how-to/collapse.md", "js", "held"): COLLAPSING,
    ("docs/how-to/erase.md", "bash", "/export"): ERASING,
    ("docs/how-to/erase.md", "bash", "-X DELETE"): ERASING,
    ("docs/how-to/erase.md", "sql", "VACUUM FULL"): ERASED_FILES,
    ("docs/how-to/erase.md", "sql", "pg_switch_wal"): ERASED_FILES,
    ("docs/how-to/groups.md", "bash", "-X PUT"): GROUPS,
    ("docs/how-to/groups.md", "bash", '"add"'): GROUPS,
    ("docs/how-to/groups.md", "bash", "file.added"): GROUPS,
    ("docs/how-to/snooze.md", "js", "notification.snooze"): SNOOZED,
    ("docs/how-to/take-back.md", "bash", "PATCH"): AMENDMENTS,
    ("docs/how-to/take-back.md", "bash", "DELETE"): AMENDMENTS,
    ("docs/how-to/revoke.md", "bash", "42/revoke"): REVOKING,
    ("docs/how-to/revoke.md", "bash", "42/block"): REVOKING,
    ("docs/how-to/backup.md", "bash", "backup copy.db"): f"{RECIPES}test_a_backup_put_back_has_what_was_there_then",
    ("docs/how-to/backup.md", "bash", "restore --replace"): f"{RECIPES}test_a_backup_put_back_has_what_was_there_then",
    ("docs/how-to/backup.md", "bash", "chown"): f"{RECIPES}test_a_backup_put_back_has_what_was_there_then",
    ("docs/how-to/export.md", "bash", "export --output"): EXPORTED,
    ("docs/how-to/export.md", "bash", "new.toml copy.ndjson"): EXPORTED,
    ("docs/how-to/export.md", "bash", "gunzip"): EXPORTED,
    ("docs/how-to/ops-page.md", "bash", "urandom"): OPS_PAGE,
    ("docs/how-to/ops-page.md", "toml", "ops = true"): OPS_PAGE,
    ("docs/how-to/ops-page.md", "bash", "ssh -L"): NotRun("it needs another machine"),
    ("docs/how-to/postgresql.md", "sql", "CREATE ROLE"): RIGHTS,
    ("docs/how-to/postgresql.md", "bash", "synkrone-socket migrate"): RIGHTS,
    ("docs/how-to/postgresql.md", "sql", "GRANT"): RIGHTS,
    ("docs/how-to/postgresql.md", "toml", "store_password_file"): RIGHTS,
    (
        "docs/how-to/postgresql.md",
        "toml",
        "store_listen",
    ): "tests/integration/test_container.py::test_the_settings_of_the_page_on_postgresql_reach_the_store",
    (
        "docs/how-to/postgresql.md",
        "toml",
        "store_durability",
    ): "tests/integration/test_container.py::test_the_settings_of_the_page_on_postgresql_reach_the_store",
    (
        "docs/how-to/postgresql.md",
        "sql",
        "give_up",
    ): "tests/integration/test_postgresql_missing.py::test_what_is_given_up_is_told_as_trimmed",
    ("docs/how-to/why.md", "bash", "why --user 42"): WHY,
    ("docs/how-to/why.md", "text", "mission-7: sent"): WHY,
    ("docs/how-to/move.md", "bash", "--from"): (
        "tests/e2e/test_moving.py::test_a_move_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing"
    ),
    ("docs/examples/README.md", "bash", "opaque_tokens serve"): EXAMPLES,
    ("docs/examples/README.md", "bash", "json_lines serve"): EXAMPLES,
    ("docs/examples/README.md", "diff", "opaque_tokens"): SWAPPING,
    ("docs/examples/README.md", "diff", "json_lines"): SWAPPING,
    ("docs/reference/http.md", "bash", "SYNKRONE_API__KEY="): THE_KEY,
    ("docs/reference/http.md", "bash", "/v1/stream"): (
        f"{DOCUMENTS}test_a_client_lists_and_marks_read_and_a_stream_hears_of_it"
    ),
    ("docs/reference/events.md", "js", "emitWithAck"): (
        f"{DOCUMENTS}test_a_client_lists_and_marks_read_and_a_stream_hears_of_it"
    ),
    ("docs/reference/tokens.md", "toml", "auth.issuers"): f"{DOCUMENTS}test_the_issuers_are_settings",
    **{
        ("docs/reference/commands.md", "text", f"usage: synkrone-socket {name} "): GENERATED for name in command_names()
    },
    ("docs/explanation/code.md", "text", "domain/"): NotRun("it shows the folders"),
    ("docs/explanation/code.md", "python", ".rooms("): f"{DOCUMENTS}test_the_policy_is_plain_functions",
    ("docs/explanation/code.md", "python", "MemoryTransport"): f"{DOCUMENTS}test_the_domain_runs_without_a_socket",
}
"""What runs each block: its page, its language and what it alone contains, and the test; or why nothing does."""

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def runners_of(block: Block) -> list[str | NotRun]:
    return [
        runner
        for (path, language, containing), runner in RUNNERS.items()
        if (path, language) == (block.page, block.language) and containing in block.text
    ]


@pytest.mark.parametrize("path", pages())
def test_every_block_of_code_has_one_runner_or_a_reason(path: str) -> None:
    assert [block for block in blocks(path) if len(runners_of(block)) != 1] == []
    # Whatever opens a block at the margin is seen as one.
    assert len(re.findall(r"^ *```", page(path), re.MULTILINE)) == 2 * len(
        re.findall(r"^```(?:\w+|\{\w+\})$", page(path), re.MULTILINE)
    )


@pytest.mark.parametrize(("path", "language", "containing"), RUNNERS)
def test_every_runner_has_its_block_and_is_a_test_that_is_there(path: str, language: str, containing: str) -> None:
    found = [block for block in blocks(path) if block.language == language and containing in block.text]
    assert len(found) == 1
    runner = RUNNERS[path, language, containing]
    if isinstance(runner, NotRun):
        assert runner.reason
        return
    file, _, test = runner.partition("::")
    assert re.search(rf"^(?:async )?def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_a_new_block_without_a_runner_is_noticed() -> None:
    assert runners_of(Block("docs/how-to/react.md", "js", "console.log()")) == []


def test_the_readme_is_one_page() -> None:
    assert len(page("README.md").encode()) <= README_OCTETS


def test_the_readme_shows_what_the_tutorial_has() -> None:
    shown = [block.text for block in blocks("README.md") if "make " not in block.text]
    assert shown == [block.text for block in blocks("docs/tutorial/page.md")]


@pytest.mark.parametrize("path", [path for path in pages() if path.startswith("docs/tutorial/")])
def test_the_tutorial_can_be_typed_into_any_terminal(path: str) -> None:
    typed = [block.text for block in blocks(path) if block.language == "bash"]
    assert [text for text in typed if not text.startswith(". .venv/bin/activate\n")] == []


@pytest.mark.parametrize("name", PARTS)
def test_what_is_generated_is_current(name: str) -> None:
    if name == "commands.md" and sys.version_info >= (3, 13):
        pytest.skip("from Python 3.13 on the usage of commands is wrapped elsewhere: run this with 3.11 or 3.12")
    text = (REFERENCE / name).read_text(encoding="utf-8")
    assert text == current(name, text), "run python -m docs.generate"


def test_the_key_of_the_examples_is_that_of_api(tmp_path: Path) -> None:
    settings = '[tls]\nkey = "key.pem"\n\n[api]\nkey = "that-one"\n\n[[api.keys]]\nname = "crm"\nkey = "another"\n'
    (tmp_path / "synkrone.toml").write_text(settings, encoding="utf-8")
    typed = block("docs/reference/http.md", "bash", "SYNKRONE_API__KEY=")
    script = f'{typed}printf %s "$SYNKRONE_API__KEY"'
    ran = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=10, check=True)
    assert ran.stdout == "that-one"
    found = re.findall(r"\$\((sed .*?synkrone\.toml)\)", page("README.md") + page("docs/tutorial/backend.md") + typed)
    assert len(found) == 3
    assert len(set(found)) == 1


def test_every_setting_and_code_has_its_line() -> None:
    assert {name for name, _ in settings(Settings)} == set(SETTINGS)
    assert {each.code for each in codes()} == set(CODES)


def source(name: str) -> str:
    return (ROOT / "adapters" / "client" / "src" / name).read_text(encoding="utf-8")


def test_every_custom_property_of_the_component_has_its_line_and_default() -> None:
    styles = source("element_styles.js") + source("panel_styles.js")
    defaults = {
        name: (light_dark or single).split(",") if light_dark else [single]
        for name, light_dark, single in re.findall(r"var\((--synkrone-\w+),(?:light-dark\(([^)]*)\)|([^)]*))\)", styles)
    }
    rows = re.findall(r"^\| `(--synkrone-\w+)` \| ([^|]+) \|", page(COMPONENT), re.MULTILINE)
    assert {name: re.findall(r"`([^`]+)`", cell) for name, cell in rows} == defaults


def test_every_text_of_the_component_has_its_line() -> None:
    texts: dict[str, str] = {}
    for name in ("element_messages.js", "panel_messages.js"):
        english = source(name).partition("  en: {\n")[2].partition("\n  },")[0]
        found = re.findall(r'^    (\w+): (?:\{ other: )?"(.*)"(?: \})?,$', english, re.MULTILINE)
        assert len(found) == english.count("\n") + 1
        texts |= dict(found)
    table = page(COMPONENT).partition("| name | English |")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)) == texts


def anchors(path: str) -> set[str]:
    """What can be linked to within a page, as GitHub and MyST name headings."""
    titles = re.findall(r"^#+ (.+)$", _CODE.sub("", page(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead(path: str) -> list[str]:
    """The links of a page that lead nowhere; an address elsewhere is looked at for its form alone."""
    found = []
    for link in _LINK.findall(_CODE.sub("", page(path))):
        parts = urlsplit(link)
        if parts.scheme:
            if parts.scheme != "https" or not parts.hostname or "." not in parts.hostname:
                found.append(link)
            continue
        target = ((ROOT / path).parent / parts.path).resolve() if parts.path else ROOT / path
        if not target.exists() or (parts.fragment and parts.fragment not in anchors(str(target.relative_to(ROOT)))):
            found.append(link)
    return found


@pytest.mark.parametrize("path", [*pages(), "tests/README.md", "CHANGELOG.md"])
def test_no_link_is_dead(path: str) -> None:
    assert dead(path) == []


def test_the_index_links_to_every_page() -> None:
    linked = {f"docs/{link}" for link in _LINK.findall(_CODE.sub("", page("docs/index.md")))}
    assert [path for path in pages() if path not in {*linked, "README.md", "docs/index.md"}] == []


@pytest.mark.check
def test_the_pages_build_without_a_warning_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    has_sphinx = all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo"))
    require(has_sphinx, "Sphinx is not installed: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-d", str(tmp_path / "trees")]
    built = subprocess.run(
        [*command, str(ROOT / "docs"), str(tmp_path / "pages")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=[\"'](?:https?:)?//[^\"']*", re.DOTALL)
    for path in (tmp_path / "pages").rglob("*.html"):
        # What a reader is shown as code loads nothing: its angle brackets are written as entities.
        assert loaded.findall(path.read_text(encoding="utf-8")) == [], path
    for path in (tmp_path / "pages").rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", path.read_text(encoding="utf-8")), path
