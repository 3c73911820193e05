"""A store in one SQLite file: an append-only log of changes that compacts itself.

    commit() ──▶ queue ──▶ writer thread: one transaction, one fsync for all that waited ──▶ table
                                │
                                └─▶ now and then: a checkpoint, on a thread and connection of its own

What must stay true:

* A change becomes visible (table) and acknowledged (commit returns) only after its fsync: WAL with
  synchronous=FULL. When the disk refuses, the outcome of the batch is unknown, and the store stops
  for good: after a failed fsync the kernel forgets which pages were dirty, so nothing may be tried
  again in this process. A full disk is the exception: the transaction is rolled back, reading goes
  on, and so does writing once there is room.
* A revision is never given twice, even those of lazy changes that a crash lost: the file holds a
  ceiling that no revision passes, and an unclean start continues from there.
* The file is bounded: a row is deleted once a newer one of its key is older than the history
  window, and free pages are given back.
* Every row carries a checksum, for SQLite does not notice a flipped bit in a value.

Rows of `change` are (revision, key, value or NULL for a delete, checksum), without an index: the
index is the table in memory. `state` holds three numbers: horizon (rows up to it may have lost
predecessors, so no watch starts before it), ceiling, and clean (the last revision, when it was
closed properly).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw

from jindou.control.store import Change, Encode, Stale, Stored, StoreFailed, StoreFull
from jindou.control.store.table import Table, Window

APPLICATION = 0x4A494E44  # "JIND"
FORMAT = 1
PAGE = 16384
AT_ONCE = 25  # rows of one statement
MANY, TURNS = 8, 3  # after a batch of so many, the next one waits for so many turns of the loop
STRIDE = 10_000  # revisions by which the ceiling is ahead
CHECKPOINT = 4 * 1024 * 1024  # bytes of log after which its content moves to the main file
RESET = 64 * 1024 * 1024  # bytes of log after which writers wait for it to be emptied
MAKING = ".making"  # what the name of a store ends in before it is one
RESTORED = ".restored"  # and that of one which is to take its place
VACUUM = 64  # free pages given back at a time
CALM = 4  # rows of one batch, and fewer: with more there is use for free pages

SCHEMA = """
CREATE TABLE change (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    value BLOB,
    checksum INTEGER NOT NULL
);
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('horizon', 0), ('ceiling', 0), ('clean', 0);
"""


class Refused(Exception):
    """The file can't be used as it is, and was not touched; the message says why and what to do."""


def checksum(revision: int, key: str, value: bytes | None) -> int:
    start = zlib.crc32(f"{revision} {key} {'-' if value is None else '+'}".encode())
    return zlib.crc32(value or b"", start)


def _insert(db: apsw.Connection, rows: Sequence[Change]) -> None:
    """One statement for many rows: each step of SQLite gives the interpreter's lock away, and waits
    for it to come back. OR FAIL: a failure undoes the transaction, so the statement needs no journal
    of its own, which would be a file that is made and removed each time."""
    values: list[Any] = []
    for row in rows:
        values += row.revision, row.key, row.value, checksum(row.revision, row.key, row.value)
    db.execute(
        "INSERT OR FAIL INTO change VALUES " + ",".join(["(?, ?, ?, ?)"] * len(rows)), values
    )


@contextlib.contextmanager
def _told_apart(db: apsw.Connection) -> Iterator[None]:
    """A quota, or a limit on the size of files, is want of room, not a disk that fails: a write that
    meets it was not made. (A sync that fails with the same number is another matter.)"""
    try:
        yield
    except apsw.IOError as error:
        over = db.system_errno in (errno.EFBIG, errno.EDQUOT)
        if over and getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_WRITE:
            raise apsw.FullError(str(error)) from error
        raise


class _Waiting:
    __slots__ = ("change", "done", "lazy", "stored")

    def __init__(
        self, change: Change, stored: Stored, lazy: bool, done: asyncio.Future[Stored]
    ) -> None:
        self.change = change
        self.stored = stored
        self.lazy = lazy
        self.done = done


class SqliteStore(Table):
    """Open with `SqliteStore.open`, inside a running event loop. `failed` is called once, with the
    error, when the disk refused and the process should stop."""

    checkpoint, reset = CHECKPOINT, RESET
    _lock: int  # a file descriptor that holds the lock
    _db: apsw.Connection  # the writer thread's
    _side: apsw.Connection  # the checkpoint thread's

    def __init__(
        self,
        path: Path,
        window: Window | None,
        vfs: str,
        failed: Callable[[Exception], None] | None,
    ) -> None:
        super().__init__(window)
        self._path = path
        self._vfs = vfs
        self._on_failure = failed
        self._broken: Exception | None = None
        self._queue: list[_Waiting] = []
        self._pending: dict[str, tuple[int, Stored | None]] = {}  # what the writes under way leave
        self._next = 0  # the last revision given out
        self._unsaved: dict[str, Change] = {}  # lazy changes that no durable batch has carried yet
        self._garbage: deque[tuple[int, int]] = deque()  # (when its successor came, revision)
        self._horizon = 0
        self._ceiling = 0
        self._kept = (-1, -1)  # horizon and ceiling on disk; the writer thread's
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._keeper = ThreadPoolExecutor(1, "store-checkpoint")
        self._checkpointing = False
        self._copying = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        window: Window | None = None,
        vfs: str = "",
        failed: Callable[[Exception], None] | None = None,
    ) -> SqliteStore:
        """Open or make the file. Raises Refused where it is damaged, newer, or in use."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self = cls(path, window, vfs, failed)
        self._lock = _lock(path)
        try:
            _finish_restore(path)
            _keep_private(path)
            if path.exists() and path.stat().st_size:
                _check_header(path)
                self._load()
                self._db = self._connect()
            else:
                self._db = self._create()
            self._ceiling = self.revision + STRIDE
            self._write([], self._horizon, [], self._ceiling)
        except apsw.Error as error:
            os.close(self._lock)
            raise Refused(_unusable(path, error)) from error
        except BaseException:
            os.close(self._lock)
            raise
        self._side = self._connect()
        return self

    # ---------------------------------------------------------------- opening

    def _connect(
        self, flags: int = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    ) -> apsw.Connection:
        db = apsw.Connection(str(self._path), flags=flags, vfs=self._vfs or None)
        db.set_busy_timeout(10_000)
        if flags & apsw.SQLITE_OPEN_READWRITE:
            _use_log(db, self._path)
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA wal_autocheckpoint=0")
            db.execute("PRAGMA temp_store=MEMORY")  # journals of statements are small
        return db

    def _create(self) -> apsw.Connection:
        """Beside its place first: whoever is killed meanwhile leaves nothing that looks like a store."""
        part = self._path.with_name(self._path.name + MAKING)
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{part}{suffix}").unlink(missing_ok=True)
        _keep_private(part)
        db = apsw.Connection(str(part), vfs=self._vfs or None)
        db.execute(f"PRAGMA page_size={PAGE}")
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute(f"PRAGMA application_id={APPLICATION}")
        db.execute(f"PRAGMA user_version={FORMAT}")
        db.execute("PRAGMA synchronous=EXTRA")
        with db:
            db.execute(SCHEMA)
        _use_log(db, self._path)
        db.close()
        part.replace(self._path)
        _sync_folder(self._path.parent)
        return self._connect()

    def _load(self) -> None:
        """Read everything through a connection that can't write, so that refusing changes nothing."""
        db = self._connect(apsw.SQLITE_OPEN_READONLY)
        state: dict[str, int] = dict(db.execute("SELECT name, value FROM state"))
        self._horizon = self.forgotten = state["horizon"]
        last, now = 0, self._clock()
        weight = 0
        for revision, key, value, kept in db.execute(
            "SELECT revision, key, value, checksum FROM change ORDER BY revision"
        ):
            if kept != checksum(revision, key, value):
                db.close()
                raise Refused(
                    _damaged(self._path, f"revision {revision} of {key} is not what was written")
                )
            change = Change(key, revision, value, self._now.get(key))
            self._count(change)
            self._put(change)
            if revision > self._horizon:
                self._history.append((change, now))
                weight += len(value or b"") + 100
            last = revision
        db.close()
        self._history_size = weight
        clean = state["clean"]
        self._ceiling = state["ceiling"]
        self.revision = self._next = clean if clean >= last and clean else max(self._ceiling, last)

    def _count(self, change: Change) -> None:
        """Note which rows this change makes superfluous, once it is older than the window."""
        if change.previous is not None:
            self._garbage.append((change.revision, change.previous.revision))
        if change.value is None:
            self._garbage.append((change.revision, change.revision))

    # ---------------------------------------------------------------- writing

    async def commit(
        self, key: str, value: Encode | None, *, expect: int | None = None, lazy: bool = False
    ) -> Stored:
        if self._broken:
            raise StoreFailed("the store has stopped") from self._broken
        current = self._pending[key][1] if key in self._pending else self.get(key)
        found = current.revision if current else 0
        if (expect is not None and expect != found) or (value is None and not current):
            raise Stale(key, found)
        revision = self._next + 1
        kept = value(revision) if value else None
        self._next = revision
        change = Change(key, revision, kept, current)
        stored = Stored(
            key, revision, kept if kept is not None else current.value if current else b""
        )
        if lazy and not self._busy and not self._queue and revision < self._ceiling:
            self._show([change], lazily=True)
            return stored
        self._pending[key] = (revision, stored if kept is not None else None)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Stored] = loop.create_future()
        self._queue.append(_Waiting(change, stored, lazy, done))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            loop.call_soon(self._flush, loop)  # what else this tick commits shares the fsync
        return await done  # whoever waits may be cancelled; the write goes on

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._queue = self._queue, []
        highest = batch[-1].change.revision
        if all(waiting.lazy for waiting in batch) and highest < self._ceiling:
            self._finish(batch, saved=False)
            return
        if highest + 1 >= self._ceiling:
            self._ceiling = highest + STRIDE
        rows = sorted(
            [*self._unsaved.values(), *(waiting.change for waiting in batch)],
            key=lambda change: change.revision,
        )
        horizon, stale = self._collect(4 * len(rows) + 64)
        job = loop.run_in_executor(self._writer, self._write, rows, horizon, stale, self._ceiling)
        job.add_done_callback(lambda job: self._written(batch, job.exception()))

    def _collect(self, most: int) -> tuple[int, list[int]]:
        """The new horizon and the rows that may go with it, at most so many at a time."""
        stale: list[int] = []
        garbage = self._garbage
        while garbage and garbage[0][0] <= self.forgotten and len(stale) < most:
            self._horizon, revision = garbage.popleft()
            stale.append(revision)
        return self._horizon, stale

    def _write(self, rows: Sequence[Change], horizon: int, stale: list[int], ceiling: int) -> None:
        """In the writer thread. One transaction; returns when it is on disk."""
        db = self._db
        with _told_apart(db), db:
            for start in range(0, len(rows), AT_ONCE):
                _insert(db, rows[start : start + AT_ONCE])
            if self._kept != (horizon, ceiling):
                db.execute(
                    "UPDATE OR FAIL state SET value = CASE name WHEN 'horizon' THEN ?1 WHEN 'ceiling' THEN ?2 ELSE 0 END",
                    (horizon, ceiling),
                )
            if stale:
                for start in range(0, len(stale), AT_ONCE):
                    part = stale[start : start + AT_ONCE]
                    marks = ",".join("?" * len(part))
                    db.execute(f"DELETE FROM change WHERE revision IN ({marks})", part)
                if len(rows) <= CALM and db.execute("PRAGMA freelist_count").get > 2 * VACUUM:
                    db.execute(f"PRAGMA incremental_vacuum({VACUUM})").fetchall()
        self._kept = horizon, ceiling

    def _written(self, batch: list[_Waiting], error: BaseException | None) -> None:
        if error is not None:
            self._fail(error if isinstance(error, Exception) else RuntimeError(str(error)), batch)
            return
        self._unsaved.clear()
        self._finish(batch, saved=True)
        self._checkpoint_if_due()

    def _finish(self, batch: list[_Waiting], saved: bool) -> None:
        for waiting in batch:
            key = waiting.change.key
            if self._pending[key][0] == waiting.change.revision:
                del self._pending[key]
        self._show([waiting.change for waiting in batch], lazily=not saved)
        for waiting in batch:
            if not waiting.done.cancelled():
                waiting.done.set_result(waiting.stored)
        if self._queue:
            self._linger(asyncio.get_running_loop(), TURNS if len(batch) >= MANY else 0)
        else:
            self._busy = False
            self._idle.set()

    def _linger(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        """Where many write, more come with each turn of the loop; an idle loop turns in no time."""
        if turns:
            loop.call_soon(self._linger, loop, turns - 1)
        else:
            loop.call_soon(self._flush, loop)

    def _show(self, changes: Sequence[Change], lazily: bool) -> None:
        for change in changes:
            self._count(change)
            if lazily:
                self._unsaved[change.key] = change
        self.apply(changes)

    def _fail(self, error: Exception, batch: list[_Waiting]) -> None:
        """What waited behind the batch was decided on the strength of it, so it fails as well."""
        full = isinstance(error, apsw.FullError)
        kind = StoreFull if full else StoreFailed
        for waiting in [*batch, *self._queue]:
            if not waiting.done.cancelled():
                waiting.done.set_exception(kind(f"{self._path}: {error}"))
        self._queue.clear()
        self._pending.clear()
        self._busy = False
        self._idle.set()
        if not full:
            self._broken = error
            if self._on_failure:
                self._on_failure(error)

    # ---------------------------------------------------------------- the log and the file

    def _checkpoint_if_due(self) -> None:
        if self._checkpointing:
            return
        try:
            size = os.stat(f"{self._path}-wal").st_size
        except OSError:
            return
        if size < self.checkpoint:
            return
        self._checkpointing = True
        loop = asyncio.get_running_loop()
        if size > self.reset and not self._copying:
            # Where the writer works no writer is in the way; the side has moved nearly all before.
            job = loop.run_in_executor(self._writer, self._empty_log)
        else:
            job = loop.run_in_executor(self._keeper, self._move_log)

        def over(job: asyncio.Future[Any]) -> None:
            self._checkpointing = False
            error = job.exception()
            if isinstance(error, apsw.FullError) or self._broken:
                return  # all is in the log, which stays as it is until there is room
            if isinstance(error, Exception):
                self._fail(error, [])

        job.add_done_callback(over)

    def _move_log(self) -> None:
        with _told_apart(self._side):
            self._side.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _empty_log(self) -> None:
        try:
            with _told_apart(self._db):
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            pass  # a backup began meanwhile: the log waits for its end

    async def backup(self, target: Path) -> int:
        """Write a compact copy of what is durable now to `target` (replaced), while writes go on.
        Returns its last revision."""
        self._copying = True
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._keeper, self._copy, target
            )
        finally:
            self._copying = False

    def _copy(self, target: Path) -> int:
        return _copy_to(target, self._side)

    async def close(self) -> None:
        """Wait for what is under way, and leave one whole file without a log beside it."""
        await self._idle.wait()
        loop = asyncio.get_running_loop()
        try:
            if not self._broken:
                rows = sorted(self._unsaved.values(), key=lambda change: change.revision)
                await loop.run_in_executor(self._writer, self._write_last, rows)
        except apsw.Error as error:
            self._broken = error
            raise StoreFailed(f"{self._path}: {error}") from error
        finally:
            self._writer.shutdown()
            self._keeper.shutdown()
            self._release()

    def _release(self) -> None:
        try:
            for db in (self._side, self._db):
                try:
                    if self._broken:  # or it would sync what it could not sync before
                        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                    db.close()
                except apsw.Error:
                    if not self._broken:
                        raise
        finally:
            os.close(self._lock)

    def _write_last(self, rows: Sequence[Change]) -> None:
        if rows:
            self._write(rows, self._horizon, [], self._ceiling)
        self._db.execute("PRAGMA incremental_vacuum").fetchall()
        with self._db:
            self._db.execute("UPDATE state SET value = ? WHERE name = 'clean'", (self.revision,))


def backup(path: Path, target: Path) -> int:
    """A compact copy of a store that another process has open, or none; returns its last revision."""
    _check_header(path)
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_timeout(10_000)
    try:
        return _copy_to(target, db)
    finally:
        db.close()


def _copy_to(target: Path, db: apsw.Connection) -> int:
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    _keep_private(part)
    db.execute("VACUUM INTO ?", (str(part),))
    copy = apsw.Connection(str(part))
    last: int = copy.execute("SELECT max(revision) FROM change").get or 0
    copy.close()
    descriptor = os.open(part, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)
    part.rename(target)
    _sync_folder(target.parent)
    return last


def restore(backup: Path, path: Path) -> int:
    """Put a backup in the place of a store that nobody has open; the old file is kept beside it as
    NAME.before-restore. Revisions go on above both, so that no client sees time run backwards.
    Returns the number of objects. Raises Refused and changes nothing where the backup is damaged."""
    _check_header(backup)
    lock = _lock(path)
    try:
        part = path.with_name(path.name + ".restoring")
        _keep_private(part)
        part.write_bytes(backup.read_bytes())
        probe = SqliteStore(part, None, "", None)
        try:
            probe._load()
        except apsw.Error as error:
            part.unlink()
            raise Refused(_damaged(backup, str(error))) from error
        ceiling = probe.revision
        if path.exists():
            old = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            ceiling = max(
                ceiling,
                *(
                    value
                    for (value,) in old.execute(
                        "SELECT value FROM state WHERE name <> 'horizon' UNION SELECT max(revision) FROM change"
                    )
                    if value is not None  # of a store that never held anything
                ),
            )
            old.close()
        db = apsw.Connection(str(part))
        db.execute("PRAGMA synchronous=EXTRA")
        with db:
            db.execute(
                "UPDATE state SET value = CASE name WHEN 'ceiling' THEN ?1 WHEN 'horizon' THEN ?1 ELSE 0 END",
                (ceiling + 1,),
            )
        _use_log(db, part)
        db.close()
        part.replace(f"{path}{RESTORED}")
        _finish_restore(path)
        return len(probe._now)
    finally:
        os.close(lock)


def _finish_restore(path: Path) -> None:
    """Whoever is killed in the middle of it has it finished at the next start."""
    restored = Path(f"{path}{RESTORED}")
    if not restored.exists():
        return
    _sync_folder(path.parent)
    for suffix in ("", "-wal", "-shm"):
        old_file = Path(f"{path}{suffix}")
        if old_file.exists():
            old_file.replace(f"{path}.before-restore{suffix}")
    restored.replace(path)
    _sync_folder(path.parent)


def _use_log(db: apsw.Connection, path: Path) -> None:
    """A failed sync leaves another mode behind, silently. To change it is a write of its own, and a
    kill in its middle something to roll back: so it is done before a file is put in its place."""
    mode = db.execute("PRAGMA journal_mode=WAL").get
    if mode != "wal":
        raise Refused(f"{path}: the disk refused a write-ahead log (mode {mode})")


def _lock(path: Path) -> int:
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise Refused(f"{path} is in use by process {holder}; stop it first") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _keep_private(path: Path) -> None:
    """Secrets are in it: nobody but its owner may read the file, nor the logs beside it, which SQLite
    makes with the same mode. A file that is not there is made, empty."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.chmod(f"{path}{suffix}", 0o600)


def _check_header(path: Path) -> None:
    """Read the two numbers of the file's header without SQLite, which might repair as it opens."""
    with open(path, "rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise Refused(_damaged(path, "it is not an SQLite file"))
    version, application = (
        struct.unpack(">i", header[60:64])[0],
        struct.unpack(">i", header[68:72])[0],
    )
    if application != APPLICATION:
        raise Refused(
            f"{path} belongs to another program; move it away, or choose another data folder"
        )
    if version > FORMAT:
        raise Refused(
            f"{path} was written by a newer Jindou (format {version}, this one reads {FORMAT}); "
            "install that version, or restore an older backup"
        )


def _damaged(path: Path, how: str) -> str:
    return f"{path} is damaged: {how}; it was left as it is: `jindou restore BACKUP` puts a backup in its place"


def _unusable(path: Path, error: apsw.Error) -> str:
    """A disk that is full or fails is told apart from a file that is damaged."""
    room = os.statvfs(path.parent)
    full = room.f_bavail * room.f_frsize < PAGE or (room.f_files and not room.f_favail)
    if isinstance(error, apsw.FullError) or (full and not isinstance(error, apsw.CorruptError)):
        return (
            f"{path} can't be opened, for the disk is full; make room on it (jindou doctor storage)"
        )
    if isinstance(error, (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError)):
        return f"{path} can't be opened: {error}; look at the disk and at who may write there"
    return _damaged(path, str(error))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
