from __future__ import annotations

from pathlib import Path

import pytest

from traces import database
from traces.database import Database, remote_filesystem
from traces.store import ATTEMPTS


@pytest.fixture
def mounts(tmp_path: Path) -> str:
    table = tmp_path / "mounts"
    table.write_text(
        f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path}/net nfs4 rw 0 0\n"
        f"/dev/sdb {tmp_path}/net/local xfs rw 0 0\nme@host: {tmp_path}/ssh fuse.sshfs rw 0 0\n"
    )
    return str(table)


@pytest.mark.parametrize(
    ("where", "kind"),
    [("here", None), ("net/a/b", "nfs4"), ("net/local/a", None), ("ssh/a", "fuse.sshfs")],
)
def test_the_innermost_mount_says_whether_a_filesystem_is_remote(
    tmp_path: Path, mounts: str, where: str, kind: str | None
) -> None:
    assert remote_filesystem(tmp_path / where, mounts) == kind


def test_without_a_mount_table_a_filesystem_counts_as_local(tmp_path: Path) -> None:
    assert remote_filesystem(tmp_path, str(tmp_path / "missing")) is None


@pytest.mark.parametrize(("remote", "journal"), [(None, "wal"), ("nfs4", "delete")])
def test_commits_are_flushed_and_a_remote_filesystem_gets_a_rollback_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: str | None, journal: str
) -> None:
    monkeypatch.setattr(database, "remote_filesystem", lambda _: remote)
    opened = Database(tmp_path / "a.sqlite", readonly=False)
    assert opened.query("PRAGMA journal_mode") == [(journal,)]
    assert opened.query("PRAGMA synchronous") == [(2,)]  # FULL
    opened.close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    opened = Database(tmp_path / "a.sqlite", readonly=False)

    def write_and_fail(connection: object) -> None:
        connection.execute("INSERT INTO prompts (id, body) VALUES ('a', x'00')")  # type: ignore[attr-defined]
        raise KeyError

    with pytest.raises(KeyError):
        opened.transaction(write_and_fail)
    assert opened.query("SELECT count(*) FROM prompts") == [(0,)]
    opened.close()


@pytest.mark.parametrize(
    "sql",
    [
        ATTEMPTS,
        "SELECT seq FROM traces WHERE status NOT IN ('ok')",
    ],
)
def test_the_questions_of_a_resume_are_answered_by_indexes_alone(tmp_path: Path, sql: str) -> None:
    opened = Database(tmp_path / "a.sqlite", readonly=False)
    plan = [row[3] for row in opened.query(f"EXPLAIN QUERY PLAN {sql}")]
    opened.close()
    assert all("COVERING INDEX" in step for step in plan)
    assert not any("TEMP B-TREE" in step for step in plan)
