"""Everything that goes wrong in a year, within 100,000 changes; then every copy is compared with the database.

writers ─▶ Postgres ▸ Debezium ▸ Kafka ▸ two processes of workers ▸ Redis ─▶ readers with a memory of their own
faults, by how many changes there were: kill -9 of a worker, a zombie, kill -9 of Connect (it sends again), Redis
restarted empty, kill -9 of the broker, the whole log delivered again, a synchronous standby that is away
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from freshline.cache import Cache
from freshline.opening import open as open_cache
from freshline.reference.changes import WEIGHTS
from freshline.reference.load import Load, Plan
from freshline.reference.population import Population
from freshline.reference.queries import CONVERSATIONS_OF_USER, DERIVATIONS, MESSAGES_OF_CONVERSATION
from freshline.reference.reads import CachedReads
from freshline.roles import CACHE_ROLES, SINKS
from freshline.source.connector import apply_connector, connector_report
from freshline.source.database import prepare_database
from freshline.source.topics import apply_topics
from freshline.verification.quiet import wait_until_quiet
from freshline.verification.verify import open_verification
from infra.kafka.browser import open_browser
from infra.local.stack import LocalStack
from infra.postgres.migrate import migrate
from infra.postgres.pool import open_pool
from infra.redis.coherence import Coherence, State
from infra.settings import Settings
from schemas.voiceassist import VOICEASSIST
from tests.conftest import MakeSettings
from tests.faults.processes import WorkerProcess

CHANGES = 100_000
# Slow enough for every fault to find work under way.
CHANGES_PER_S = 1_000
ROLES = CACHE_ROLES
EVENTUALLY_S = 300
COMMITS_THAT_WAIT = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'voiceassist'
"""


class Scene:
    """The system under test, and what can be done to it."""

    def __init__(self, stack: LocalStack, settings: Settings, redis: Redis, workers: list[WorkerProcess]) -> None:
        self.stack = stack
        self.settings = settings
        self.redis = redis
        self.coherence = Coherence(redis, settings.namespace)
        self.first, self.second = workers
        self.done: list[str] = []

    async def applied(self) -> dict[str, int]:
        """The watermarks."""
        return dict((await self._state()).watermarks)

    async def _state(self) -> State:
        return await self.coherence.state()

    async def epoch(self) -> str:
        """The present epoch."""
        return (await self._state()).epoch

    async def gets_on(self) -> None:
        """Wait until every group moves."""
        before = await self.applied()
        standing = {self.settings.group(role) for role in ROLES}

        async def moves() -> bool:
            now = await self.applied()
            moved = {name for name, offset in now.items() if offset > before.get(name, 0)}
            standing.difference_update([group for group in standing if any(group in name for name in moved)])
            return not standing

        try:
            await eventually(moves, "workers get on")
        except AssertionError as error:
            runs = {"first": self.first.runs, "second": self.second.runs}
            source = (await connector_report(self.settings, VOICEASSIST)).status
            error.add_note(f"standing: {sorted(standing)}; running: {runs}; source: {source}")
            error.add_note(f"before: {before}; now: {await self.applied()}")
            raise

    # The faults, in the order in which they happen.

    async def kill_a_worker(self) -> None:
        """While it is at work: there is no moment without a batch."""
        self.first.kill()
        self.first.start()
        await self.gets_on()

    async def make_a_zombie(self) -> None:
        """Stop a worker for longer than its session, so that another takes over, and let it go on from where it was."""
        self.second.send(signal.SIGSTOP)
        before = await self.applied()

        async def the_other_has_all() -> bool:
            now = await self.applied()
            busy = {name for name in before if "public.users" in name or "public.conversations" in name}
            return all(now[name] > before[name] for name in busy)

        await eventually(the_other_has_all, "the other worker moves every busy partition")
        self.second.send(signal.SIGCONT)
        await self.gets_on()
        assert self.second.runs

    async def kill_connect(self) -> None:
        """It sends again what it had not confirmed."""
        await self.stack.connect.kill()
        await self.stack.connect.start()
        await self.gets_on()

    async def empty_redis(self) -> None:
        """Restart it without its data."""
        epoch = await self.epoch()
        await self.stack.valkey.kill()
        await self.stack.valkey.start()

        async def is_new() -> bool:
            return await self.epoch() not in {"", epoch}

        await eventually(is_new, "a new epoch begins")
        await self.gets_on()

    async def kill_the_broker(self) -> None:
        """Kill and restart Kafka."""
        await self.stack.kafka.kill()
        await self.stack.kafka.start()
        await self.gets_on()

    async def lose_the_standby(self) -> None:
        """Commits wait for a standby that is not there, while their events arrive: nothing of them may be applied."""
        async with self._superuser() as connection, self._browser_ends() as ends:
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            await connection.execute("SELECT pg_reload_conf()")
            try:

                async def events_wait() -> bool:
                    waiting = await connection.fetchval(COMMITS_THAT_WAIT)
                    before, end = sum((await self.applied()).values()), await ends()
                    await asyncio.sleep(1)
                    return bool(waiting) and end > 0 and before == sum((await self.applied()).values())

                await eventually(events_wait, "commits wait, and nothing is applied")
            finally:
                await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
                await connection.execute("SELECT pg_reload_conf()")
        await self.gets_on()

    async def deliver_everything_again(self) -> None:
        """Forget watermarks and committed offsets: every event of the topics comes again, onto what is there."""
        self.first.kill()
        self.second.kill()
        for role in ROLES:
            topics = SINKS[role](VOICEASSIST, self.settings).topics
            partitions = [TopicPartition(t, n) for t in topics for n in range(self.settings.topics.partitions)]
            async with AIOKafkaConsumer(
                **self.settings.kafka.client_arguments(), group_id=self.settings.group(role), enable_auto_commit=False
            ) as consumer:
                known = [
                    p for p in partitions if p.partition in (consumer.partitions_for_topic(p.topic) or {p.partition})
                ]
                consumer.assign(known)

                async def is_committed(
                    consumer: AIOKafkaConsumer = consumer, known: list[TopicPartition] = known
                ) -> bool:
                    try:
                        await consumer.commit(dict.fromkeys(known, 0))
                    except Exception:  # noqa: BLE001 - the dead members' sessions are still open
                        return False
                    return True

                await eventually(is_committed, "the groups are empty")
        await self.redis.delete(self.coherence.state_key)
        self.first.start()
        self.second.start()

        async def has_begun() -> bool:
            return bool(await self.epoch())

        await eventually(has_begun, "a new epoch begins")
        await self.gets_on()

    @asynccontextmanager
    async def _superuser(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(**self.settings.postgres.connect_arguments())
        # Its own commands must not wait for the standby.
        await connection.execute("SET synchronous_commit = local")
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def _browser_ends(self) -> AsyncIterator[Callable[[], Awaitable[int]]]:
        async with open_browser(self.settings.kafka.client_arguments()) as browser:
            partitions = await browser.partitions(SINKS["write-through"](VOICEASSIST, self.settings).topics)

            async def ends() -> int:
                return sum((await browser.ends(partitions)).values())

            yield ends


async def eventually(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until it holds; what can't be asked for the moment does not."""
    deadline = time.monotonic() + EVENTUALLY_S
    said = ""
    while time.monotonic() < deadline:
        try:
            if await holds():
                return
        except Exception as error:  # noqa: BLE001 - a store that was just killed
            said = f" ({error})"
        await asyncio.sleep(0.05)
    raise AssertionError(f"in {EVENTUALLY_S:g} s it did not come to pass that {what}{said}")


async def go_wrong(scene: Scene, load: Load) -> None:
    """One fault after another, spread over the changes."""
    faults = (
        scene.kill_a_worker,
        scene.make_a_zombie,
        scene.kill_connect,
        scene.empty_redis,
        scene.kill_the_broker,
        scene.deliver_everything_again,
        scene.lose_the_standby,
    )
    for number, fault in enumerate(faults, start=1):
        share = CHANGES * number / (len(faults) + 1)

        async def is_due(share: float = share) -> bool:
            return load.counts.rows >= share

        await eventually(is_due, f"{share:g} rows are changed")
        await fault()
        scene.done.append(fault.__name__)

    async def are_enough() -> bool:
        return load.counts.rows >= CHANGES

    await eventually(are_enough, f"{CHANGES} rows are changed")


async def read_everything(cache: Cache, population: Population) -> None:
    """Read every row and query that is known, while the last events are still being applied."""
    for table in ("users", "conversations", "documents"):
        await cache.get_many(table, list(population.of(table)))
    for query, rows in (
        (CONVERSATIONS_OF_USER, population.users),
        (MESSAGES_OF_CONVERSATION, population.conversations),
    ):
        for row in list(rows):
            await cache.query(query.key(row), partial(query.run, row=row))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_copy_is_wrong_after_everything_went_wrong(
    stack: LocalStack, make_settings: MakeSettings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    settings = make_settings(worker={"session_timeout_s": 3}, topics={"partitions": 4})
    await migrate(settings.postgres.connect_arguments())
    await prepare_database(settings.postgres, VOICEASSIST)
    await apply_topics(settings, VOICEASSIST)
    await apply_connector(settings, VOICEASSIST)
    workers = [WorkerProcess(settings, ROLES, tmp_path / f"worker-{number}.log") for number in (1, 2)]
    plan = Plan(
        seed=4,
        writers=6,
        readers=3,
        changes_per_s=CHANGES_PER_S,
        reads_per_s=150,
        weights={
            **WEIGHTS,
            "insert_many": 12,
            "update_many": 24,
            "truncate_messages": 0.005,
            "truncate_documents": 0.005,
        },
        largest_document_bytes=30_000,
    )
    async with AsyncExitStack() as opened:
        for worker in workers:
            worker.start()
            opened.callback(worker.kill)
        cache = await opened.enter_async_context(open_cache(settings, VOICEASSIST))
        pool = await opened.enter_async_context(
            open_pool(
                settings.postgres.connect_arguments(), application="voiceassist", max_size=8, statement_timeout_s=60
            )
        )
        redis = await opened.enter_async_context(Redis.from_url(**settings.redis.client_arguments()))
        scene = Scene(stack, settings, redis, workers)
        load = Load(plan, pool, CachedReads(cache))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(load.run())
            try:
                await go_wrong(scene, load)
            finally:
                load.stop()
            counts = await running
        await read_everything(cache, load.population)
        await wait_until_quiet(settings, VOICEASSIST, timeout_s=180)
        async with open_verification(
            settings, VOICEASSIST, derivations=DERIVATIONS, memories={"reader": cache.l1}
        ) as verification:
            report = await verification.run()
    for kind, tally in report.kinds().items():
        record_property(f"{kind} compared", tally.compared)
    assert counts.rows >= CHANGES
    assert len(scene.done) == 7
    assert report.examples == []
    assert report.wrong == 0
    assert counts.violations == []
    for kind, tally in report.kinds().items():
        assert tally.compared > 0, f"no {kind} were compared"
