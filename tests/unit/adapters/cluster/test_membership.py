"""What a node does about its lease and about others, with a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from adapters.cluster.membership import ANSWER_SECONDS, RETRY_SECONDS, Load, Membership
from adapters.system.nodes import Member, Roll
from domain.errors import Unavailable
from tests.doubles import FixedRandomness, ManualClock
from tests.registries import Cluster, MemoryRegistry
from tests.serving import eventually

LEASE_SECONDS = 15.0
INTERVAL = 5.0


class Peers:
    """What other nodes answer, by the host of their address: nothing where it is not said."""

    def __init__(self) -> None:
        self.answers: Mapping[str, float] = {}
        self.asked: list[str] = []

    async def ask(self, member: Member, secrets: Sequence[bytes]) -> float | None:
        assert secrets
        self.asked.append(member.address)
        return self.answers.get(member.address)


class Node:
    """One node as its clients see it: ``sent_away`` is for what they were."""

    def __init__(self, cluster: Cluster, address: str = "") -> None:
        self.cluster = cluster
        self.registry = MemoryRegistry(cluster)
        self.address = address
        self.peers = Peers()
        self.sent_away: list[str] = []
        self.connections = 0
        self.silent_seconds = 0.0
        self.membership = Membership(
            self.registry,
            self.peers,
            version="1.2.3",
            clock=cluster.clock,
            randomness=FixedRandomness(1.0),
        )

    def _send_away(self, why: Unavailable) -> None:
        self.sent_away.append(why.code)

    async def begin(self) -> None:
        await self.membership.begin(
            self.address,
            load=lambda: Load(self.connections, self.cluster.head, self.silent_seconds),
            send_away=self._send_away,
        )

    async def live(self, seconds: float) -> None:
        """Let it do what it does in that time."""
        await live(seconds, self)


async def live(seconds: float, *nodes: Node) -> None:
    """All at the same pace."""
    passed = 0.0
    while passed < seconds:
        pauses = [await node.membership.step() for node in nodes]
        pause = min(pauses)
        nodes[0].cluster.clock.advance(pause)
        passed += pause


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(ManualClock())


async def pair(cluster: Cluster) -> tuple[Node, Node]:
    """Two nodes that know each other, and have for a while."""
    first, second = Node(cluster, "http://one"), Node(cluster, "http://two")
    await first.begin()
    await second.begin()
    await live(2 * LEASE_SECONDS, first, second)
    return first, second


@pytest.mark.gen_test
async def test_nodes_find_one_another_by_their_boots(cluster: Cluster) -> None:
    first, second = await pair(cluster)
    found = await first.membership.find(second.membership.boot)
    assert found is not None
    assert found.address == "http://two"
    own = await first.membership.find(first.membership.boot)
    assert own is not None
    assert own.address == "http://one"
    assert first.membership.secrets == second.membership.secrets
    assert first.registry.rolls == 0


@pytest.mark.gen_test
async def test_a_node_that_has_just_come_is_looked_for_at_once(cluster: Cluster) -> None:
    first, _ = await pair(cluster)
    new = Node(cluster, "http://new")
    await new.begin()
    found = await first.membership.find(new.membership.boot)
    assert found is not None
    assert found.address == "http://new"


@pytest.mark.gen_test
async def test_whoever_is_sought_in_a_second_is_looked_for_once_and_never_again(cluster: Cluster) -> None:
    first, _ = await pair(cluster)
    assert await first.membership.find("stranger") is None
    cluster.clock.advance(1.0)
    # With this moment's look under way a new node comes, and is asked for: the next look finds it.
    boots = [f"gone-{number:03}" for number in range(100)]
    found = await asyncio.gather(*(first.membership.find(boot) for boot in [*boots, *boots]))
    assert set(found) == {None}
    assert first.registry.rolls == 2
    cluster.clock.advance(60.0)
    for boot in ("stranger", *boots):
        assert await first.membership.find(boot) is None
    assert first.registry.rolls == 2


@pytest.mark.gen_test
async def test_who_is_sought_while_a_look_is_under_way_waits_for_the_next_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await pair(cluster)
    under_way, go_on = asyncio.Event(), asyncio.Event()
    roll = first.registry.roll

    async def slow_roll() -> Roll:
        read = await roll()
        under_way.set()
        await go_on.wait()
        return read

    monkeypatch.setattr(first.registry, "roll", slow_roll)
    looked = asyncio.create_task(first.membership.find("stranger"))
    await under_way.wait()
    new = Node(cluster, "http://new")
    await new.begin()
    cluster.clock.advance(1.0)
    sought = asyncio.create_task(first.membership.find(new.membership.boot))
    await asyncio.sleep(0)
    go_on.set()
    assert await looked is None
    found = await sought
    assert found is not None
    assert found.address == "http://new"


@pytest.mark.gen_test
async def test_while_the_store_is_away_nobody_new_is_found_but_later(cluster: Cluster) -> None:
    first, _ = await pair(cluster)
    new = Node(cluster, "http://new")
    await new.begin()
    cluster.is_away = True
    assert await first.membership.find(new.membership.boot) is None
    cluster.is_away = False
    cluster.clock.advance(1.0)
    assert await first.membership.find(new.membership.boot) is not None


@pytest.mark.gen_test
async def test_a_node_whose_lease_is_lost_sends_its_clients_away_and_is_another_one(cluster: Cluster) -> None:
    lively, paused = await pair(cluster)
    before = paused.membership.boot
    await lively.live(60.0)
    assert await lively.membership.find(before) is None
    assert paused.sent_away == []
    assert await paused.membership.step() == 0.0
    assert paused.sent_away == ["unavailable"]
    assert paused.membership.fault == "lease_lost"
    # Nobody would find a client that were told another name before it is registered.
    assert paused.membership.boot == before
    await paused.membership.step()
    assert paused.membership.boot != before
    assert paused.membership.fault is None
    # Those that came in between too.
    assert paused.sent_away == ["unavailable"] * 2
    found = await lively.membership.find(paused.membership.boot)
    assert found is not None
    assert await paused.membership.find(before) is None
    await live(60.0, lively, paused)
    assert (lively.sent_away, len(paused.sent_away)) == ([], 2)


@pytest.mark.gen_test
async def test_a_cut_off_node_sends_its_clients_away_once_its_lease_is_over(cluster: Cluster) -> None:
    cut, other = await pair(cluster)
    cut.peers.answers = {"http://two": 0.3}
    cut.registry.is_cut_off = True
    await live(LEASE_SECONDS - INTERVAL, cut, other)
    assert cut.sent_away == []
    assert set(cut.peers.asked) == {"http://two"}
    await live(2 * INTERVAL, cut, other)
    assert set(cut.sent_away) == {"unavailable"}
    assert cut.membership.fault is not None
    assert other.sent_away == []
    cut.registry.is_cut_off = False
    before = cut.membership.boot
    await live(LEASE_SECONDS, cut, other)
    assert cut.membership.boot != before
    assert cut.membership.fault is None
    sent_away = list(cut.sent_away)
    await live(60.0, cut, other)
    assert cut.sent_away == sent_away


@pytest.mark.gen_test
async def test_a_node_that_has_its_lease_and_hears_nothing_sends_its_clients_to_those_who_do(cluster: Cluster) -> None:
    deaf, other = await pair(cluster)
    deaf.silent_seconds = 60.0
    deaf.peers.answers = {"http://two": 60.0}
    await live(60.0, deaf, other)
    assert deaf.sent_away == []
    deaf.peers.answers = {"http://two": 0.3}
    await live(2 * INTERVAL, deaf, other)
    assert set(deaf.sent_away) == {"unavailable"}
    assert deaf.membership.fault is None
    deaf.silent_seconds = 0.0
    sent_away = list(deaf.sent_away)
    await live(60.0, deaf, other)
    assert (deaf.sent_away, other.sent_away) == (sent_away, [])


@pytest.mark.gen_test
async def test_while_the_store_is_down_for_all_clients_stay(cluster: Cluster) -> None:
    first, second = await pair(cluster)
    boots = first.membership.boot, second.membership.boot
    first.peers.answers, second.peers.answers = {"http://two": 17.0}, {"http://one": 17.0}
    cluster.is_away = True
    await live(120.0, first, second)
    cluster.is_away = False
    await live(60.0, first, second)
    assert (first.sent_away, second.sent_away) == ([], [])
    assert (first.membership.boot, second.membership.boot) == boots


@pytest.mark.gen_test
async def test_a_node_that_reaches_neither_the_store_nor_the_others_is_cut_off(cluster: Cluster) -> None:
    cut, other = await pair(cluster)
    cut.registry.is_cut_off = True
    await live(2 * LEASE_SECONDS, cut, other)
    assert set(cut.sent_away) == {"unavailable"}


@pytest.mark.gen_test
@pytest.mark.parametrize("address", ["", "http://one"])
async def test_a_node_that_nobody_can_tell_anything_keeps_its_clients(cluster: Cluster, address: str) -> None:
    """It is alone, or the others have no internal listener."""
    first, other = Node(cluster, address), Node(cluster)
    await first.begin()
    await other.begin()
    await live(2 * LEASE_SECONDS, first, other)
    cluster.is_away = True
    await live(120.0, first, other)
    assert first.sent_away == []
    assert first.peers.asked == []


@pytest.mark.gen_test
async def test_when_the_database_is_another_one_nodes_come_over_and_stay_who_they_are(cluster: Cluster) -> None:
    first, second = await pair(cluster)
    boots = first.membership.boot, second.membership.boot
    (secret,) = first.membership.secrets
    cluster.begin_anew()
    await first.membership.step()
    # Whoever is not there yet is still known, and understands what is signed.
    found = await first.membership.find(boots[1])
    assert found is not None
    assert first.membership.secrets[0] == secret
    assert list(second.membership.secrets) == [secret]
    await live(2 * LEASE_SECONDS, first, second)
    assert list(first.membership.secrets) == list(second.membership.secrets) == [cluster.secret, secret]
    assert (first.membership.boot, second.membership.boot) == boots
    assert (first.sent_away, second.sent_away) == ([], [])


@pytest.mark.gen_test
async def test_a_node_in_a_hurry_comes_over_at_once(cluster: Cluster) -> None:
    first, _ = await pair(cluster)
    cluster.begin_anew()
    running = asyncio.ensure_future(first.membership.run())
    await eventually(lambda: first.membership.boot in cluster.leases)
    cluster.begin_anew()
    first.membership.hurry()
    await eventually(lambda: first.membership.boot in cluster.leases)
    running.cancel()


@pytest.mark.gen_test
async def test_a_store_that_does_not_answer_is_waited_for_but_not_only_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.cluster.membership.ANSWER_SECONDS", 0.01)
    cut, other = await pair(cluster)
    cut.peers.answers = {"http://two": 0.3}
    renew, answers = cut.registry.renew, asyncio.Event()

    async def silent(own: Member) -> Roll:
        await answers.wait()
        return await renew(own)

    monkeypatch.setattr(cut.registry, "renew", silent)
    assert await cut.membership.step() == RETRY_SECONDS < ANSWER_SECONDS
    await live(LEASE_SECONDS - INTERVAL, cut, other)
    assert cut.sent_away == []
    await live(LEASE_SECONDS, cut, other)
    assert set(cut.sent_away) == {"unavailable"}
    answers.set()
    await live(INTERVAL, cut, other)
    assert cut.membership.fault is None


@pytest.mark.gen_test
async def test_nodes_without_internal_addresses_do_not_go_unnoticed(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    first = Node(cluster)
    await first.begin()
    await first.live(60.0)
    assert caplog.records == []
    second = Node(cluster, "http://two")
    await second.begin()
    await live(60.0, first, second)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert all("internal.port" in record.message and "long-polling" in record.message for record in warnings)


@pytest.mark.gen_test
async def test_a_node_that_ends_gives_its_lease_back(cluster: Cluster) -> None:
    first, second = await pair(cluster)
    boot = second.membership.boot
    await second.membership.close()
    await first.membership.step()
    assert [member.boot for member in first.membership.members] == [first.membership.boot]
    assert await first.membership.find(boot) is None
    cluster.is_away = True
    await first.membership.close()


@pytest.mark.gen_test
async def test_a_node_that_is_gone_is_logged_once_by_those_that_stay(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await pair(cluster)
    gone = second.membership.boot
    with caplog.at_level(logging.INFO, "synkrone.cluster"):
        await first.live(3 * LEASE_SECONDS)
    told = [record for record in caplog.records if "has left" in record.getMessage()]
    assert [(vars(record)["boot"], vars(record)["address"]) for record in told] == [(gone, "http://two")]
