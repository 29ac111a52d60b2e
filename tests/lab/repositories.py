"""Repositories by the thousand, each wrong in none, one or a few ways, for two verifiers to judge.

A ``Draft`` is an honest repository with a history of roots. An *oddity* changes one thing of it, before the
signing or after, and is known by its name: the table of stricter verdicts (``tests.prove.stricter``) says by
these names what it covers. Everything that hypothesis draws decides every byte, so a case can be made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st
from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from tests.fakes.small_repository import (
    NOW,
    key_id,
    make_root,
    make_snapshot,
    make_targets,
    make_timestamp,
    signed_by,
    signer,
)

Draw = Callable[[st.SearchStrategy[Any]], Any]
DAY: Final = timedelta(days=1)
TOP: Final = ("targets.json", "snapshot.json", "timestamp.json")


@dataclass
class Draft:
    """A repository that is being made."""

    draw: Draw
    roots: list[Root]
    documents: dict[str, Signed]
    signers: dict[str, list[str]]  # file -> names of the keys that sign it
    now: datetime = NOW
    files: dict[str, bytes] = field(default_factory=dict)

    def pick(self, *choices: Any) -> Any:
        """Draw one of ``choices``."""
        return self.draw(st.sampled_from(choices))

    def pick_file(self) -> str:
        """Draw a file that is there."""
        return str(self.draw(st.sampled_from(sorted(self.files) or ["none"])))

    def seal(self) -> None:
        """Sign everything."""
        for number, root in enumerate(self.roots, start=1):
            self.files[f"{number}.root.json"] = signed_by(root, *self.signers[f"{number}.root.json"]).to_bytes()
        for name in TOP:
            signed: Any = self.documents[name]
            self.files[name] = signed_by(signed, *self.signers[name]).to_bytes()

    def edit(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the JSON of a sealed file, whoever signed it."""
        with suppress(ValueError, KeyError):  # Another oddity may have spoiled it already, or taken it away.
            document = json.loads(self.files[name])
            change(document)
            self.files[name] = json.dumps(document).encode()


@dataclass(frozen=True)
class Visit:
    """What one medium brings, and what the clock says that day."""

    files: Mapping[str, bytes]
    now: datetime


@dataclass(frozen=True)
class Case:
    """What happens to a site: perhaps a good visit, then the one that is judged."""

    root: bytes  # pinned
    visits: tuple[Visit, ...]
    oddities: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Case(visits={len(self.visits)}, oddities={self.oddities})"

    @property
    def digest(self) -> str:
        """A name for everything that two verifiers get to see."""
        digest = hashlib.sha256(self.root)
        for visit in self.visits:
            digest.update(repr((sorted(visit.files.items()), visit.now)).encode())
        return digest.hexdigest()[:16]

    @property
    def names_what_was_seen_before(self) -> bool:
        """Whether the last medium names a version that the site accepted on its first visit."""
        if len(self.visits) < 2:
            return False
        before, after = (_versions_named(visit.files) for visit in (self.visits[0], self.visits[-1]))
        return any(version == before[what] for what, version in after.items())


def _versions_named(files: Mapping[str, bytes]) -> dict[str, object]:
    """Return the versions by which a client with a cache decides what it need not look at."""
    found: dict[str, object] = {}
    places = (("timestamp.json", None), ("timestamp.json", "snapshot.json"), ("snapshot.json", "targets.json"))
    for name, listed in places:
        with suppress(ValueError, KeyError, TypeError):
            signed = json.loads(files[name])["signed"]
            found[listed or name] = signed["version"] if listed is None else signed["meta"][listed]["version"]
    return found


def expire(draft: Draft) -> None:
    document = draft.pick(*(draft.documents[name] for name in TOP), draft.roots[-1])
    document.expires = draft.now + draft.pick(timedelta(), timedelta(seconds=1), -DAY, -400 * DAY)


def expire_an_older_root(draft: Draft) -> None:
    if len(draft.roots) > 2:
        draft.roots[-2].expires = NOW - DAY


def clock_ahead(draft: Draft) -> None:
    draft.now = NOW + draft.pick(364, 365, 366, 4000) * DAY


def clock_behind(draft: Draft) -> None:
    draft.now = draft.pick(datetime(1970, 1, 1, tzinfo=UTC), NOW - 300 * DAY, NOW - 30 * DAY)
    if draft.pick(True, False):
        # Good by that clock, yet past by a date that the site may have seen.
        draft.documents[draft.pick(*TOP)].expires = NOW - 10 * DAY


def other_versions_named(draft: Draft) -> None:
    more = draft.pick(-1, 1, 5)
    snapshot, timestamp = draft.documents["snapshot.json"], draft.documents["timestamp.json"]
    if draft.pick(True, False) and isinstance(snapshot, Snapshot):
        snapshot.meta["targets.json"] = MetaFile(max(1, snapshot.meta["targets.json"].version + more))
    elif isinstance(timestamp, Timestamp):
        timestamp.snapshot_meta = MetaFile(max(1, timestamp.snapshot_meta.version + more))


def other_version(draft: Draft) -> None:
    draft.pick(*(draft.documents[name] for name in TOP)).version = draft.pick(1, 2, 3, 100)


def versions_lowered(draft: Draft) -> None:
    _number(draft, 1, sequence=draft.pick(1, 5))


def versions_as_before(draft: Draft) -> None:
    _number(draft, 5, sequence=5)


def sequence_lowered(draft: Draft) -> None:
    draft.documents["targets.json"] = make_targets(version=draft.documents["targets.json"].version, sequence=1)


def wrong_root_version(draft: Draft) -> None:
    draft.roots[-1].version = max(1, draft.roots[-1].version + draft.pick(-1, 1, 7))


def successor_without_old_keys(draft: Draft) -> None:
    number = len(draft.roots)
    draft.signers[f"{number}.root.json"] = _names(draft.roots[-1], "root")[: draft.pick(0, 1, 2)]


def successor_without_new_keys(draft: Draft) -> None:
    number = len(draft.roots)
    draft.signers[f"{number}.root.json"] = _names(draft.roots[max(0, number - 2)], "root")


def threshold_raised(draft: Draft) -> None:
    draft.roots[-1].roles[draft.pick("root", "targets", "snapshot", "timestamp")].threshold += draft.pick(1, 5)


def signer_left_out(draft: Draft) -> None:
    name = draft.pick(*TOP, f"{len(draft.roots)}.root.json")
    draft.signers[name] = draft.signers[name][1:]


def stranger_signs(draft: Draft) -> None:
    name = draft.pick(*TOP)
    draft.signers[name] = [*draft.signers[name][draft.pick(0, 1) :], "stranger"]


def desk_signs_targets(draft: Draft) -> None:
    draft.signers["targets.json"] = [*draft.signers["targets.json"][1:], *draft.signers["timestamp.json"]]


def key_under_two_ids(draft: Draft) -> None:
    name = next((one for one in _names(draft.roots[-1], "targets") if one.startswith("release-")), "release-1")
    _set_role(draft, "targets", [name, f"twin-of-{name}"], 2)
    draft.signers["targets.json"] = [name, f"twin-of-{name}"]


def kind_of_key_not_offered(draft: Draft) -> None:
    names = _names(draft.roots[-1], "targets")
    _set_role(draft, "targets", [*names[:1], "p521-key"], draft.pick(1, 2))
    draft.signers["targets.json"] = [*names[: draft.pick(0, 1)], "p521-key"]


def another_product(draft: Draft) -> None:
    where = draft.pick("root", "targets", "none")
    if where == "targets":
        draft.documents["targets.json"] = make_targets(
            version=draft.documents["targets.json"].version, sequence=9, product="other"
        )
    else:
        draft.roots[-1].unrecognized_fields = {"teraferry": {"product": "other"}} if where == "root" else {}


def bundle_described_otherwise(draft: Draft) -> None:
    targets = draft.documents["targets.json"]
    if not isinstance(targets, Targets):
        raise TypeError("targets.json")
    name = next(name for name in targets.targets if name.endswith(".tar.gz"))
    how = draft.pick("none", "two", "renamed", "odd", "delegations")
    if how == "none":
        del targets.targets[name]
    elif how == "two":
        targets.targets |= make_targets(release="2.0.0").targets
    elif how == "renamed":
        targets.targets["other.tar.gz"] = targets.targets.pop(name)
    elif how == "odd":
        targets.targets[name].unrecognized_fields["custom"] = draft.pick(5, "teraferry", {"teraferry": []}, None)
    else:
        targets.delegations = Targets.from_dict(
            {**Targets().to_dict(), "delegations": {"keys": {}, "roles": []}}
        ).delegations


def consistent_snapshot(draft: Draft) -> None:
    draft.roots[-1].consistent_snapshot = True


def snapshot_names_more(draft: Draft) -> None:
    snapshot = draft.documents["snapshot.json"]
    if isinstance(snapshot, Snapshot):
        snapshot.meta["role1.json"] = MetaFile(draft.pick(1, 2))


def digests_named(draft: Draft) -> None:
    timestamp, snapshot = draft.documents["timestamp.json"], draft.documents["snapshot.json"]
    if isinstance(timestamp, Timestamp):
        content = signed_by(snapshot, *draft.signers["snapshot.json"]).to_bytes()  # type: ignore[type-var]
        right = MetaFile.from_data(snapshot.version, content, ["sha256"])
        right.length = draft.pick(right.length, None, 10)
        timestamp.snapshot_meta = right


BEFORE: Final[Sequence[Callable[[Draft], None]]] = (
    *(expire, expire_an_older_root, clock_ahead, clock_behind, other_versions_named, other_version),
    *(versions_lowered, versions_as_before, sequence_lowered, wrong_root_version, successor_without_old_keys),
    *(successor_without_new_keys, threshold_raised, signer_left_out, stranger_signs, desk_signs_targets),
    *(key_under_two_ids, kind_of_key_not_offered, another_product, bundle_described_otherwise),
    *(consistent_snapshot, snapshot_names_more, digests_named),
)


def signature_dropped(draft: Draft) -> None:
    draft.edit(draft.pick_file(), lambda document: document["signatures"] and document["signatures"].pop())


def signature_doubled(draft: Draft) -> None:
    draft.edit(draft.pick_file(), lambda document: document["signatures"].extend(document["signatures"][:1]))


def signature_under_another_id(draft: Draft) -> None:
    name, other = draft.pick_file(), key_id(draft.pick("root-1", "release-1", "release-2", "desk-1", "stranger"))
    draft.edit(name, lambda document: document["signatures"] and document["signatures"][0].update(keyid=other))


def signature_of_one_key_under_the_other(draft: Draft) -> None:
    def change(document: dict[str, Any]) -> None:
        for one in document["signatures"][1:]:
            one["sig"] = document["signatures"][0]["sig"]

    draft.edit(draft.pick_file(), change)


def wrong_signature_of_a_trusted_key(draft: Draft) -> None:
    name = draft.pick(*TOP)
    trusted = [key for key in _names(draft.roots[-1], name.split(".")[0]) if key not in draft.signers[name]]
    if trusted:
        entry = {"keyid": key_id(trusted[0]), "sig": signer(trusted[0]).sign(b"something else").signature}
        draft.edit(name, lambda document: document["signatures"].append(entry))


def signature_spelled_otherwise(draft: Draft) -> None:
    upper = draft.pick(str.upper, lambda text: text[:-1], lambda text: "zz" + text[2:], lambda text: text + "00")
    draft.edit(
        draft.pick_file(),
        lambda document: (
            document["signatures"] and document["signatures"][0].update(sig=upper(document["signatures"][0]["sig"]))
        ),
    )


def signed_part_changed(draft: Draft) -> None:
    changes: dict[str, Any] = draft.pick(
        *({"version": 9}, {"version": True}, {"version": 1.0}, {"expires": "2099-01-01T00:00:00Z"}),
        *({"spec_version": "2.0.0"}, {"spec_version": "1.0.99"}, {"_type": "targets"}, {"more": 1}),
    )
    draft.edit(draft.pick_file(), lambda document: document["signed"].update(changes))


def another_spelling(draft: Draft) -> None:
    name = draft.pick_file()
    content = draft.files.get(name, b"")
    draft.files[name] = draft.pick(
        content.replace(b'"version":', b'"version": 7, "version":', 1),
        content.replace(b"{", b'{"note": "unsigned", ', 1),
        content.replace(b'Z"', b'z"', 1),
        content.replace(b":", b" :  "),
        content + b"\n\n",
        b"\xef\xbb\xbf" + content,
    )


def bit_flipped(draft: Draft) -> None:
    name = draft.pick_file()
    content = bytearray(draft.files.get(name, b"x"))
    if content:
        bit = draft.draw(st.integers(0, len(content) * 8 - 1))
        content[bit // 8] ^= 1 << bit % 8
        draft.files[name] = bytes(content)


def file_cut(draft: Draft) -> None:
    name = draft.pick_file()
    content = draft.files.get(name, b"")
    draft.files[name] = content[: draft.draw(st.integers(0, len(content)))]


def file_missing(draft: Draft) -> None:
    draft.files.pop(draft.pick_file(), None)


def files_swapped(draft: Draft) -> None:
    one, other = draft.pick_file(), draft.pick_file()
    if one in draft.files and other in draft.files:
        draft.files[one], draft.files[other] = draft.files[other], draft.files[one]


def file_too_long(draft: Draft) -> None:
    name = draft.pick_file()
    draft.files[name] = draft.files.get(name, b"") + b" " * draft.pick(16 * 1024, 600_000)


AFTER: Final[Sequence[Callable[[Draft], None]]] = (
    *(signature_dropped, signature_doubled, signature_under_another_id, signature_of_one_key_under_the_other),
    *(wrong_signature_of_a_trusted_key, signature_spelled_otherwise, signed_part_changed, another_spelling),
    *(bit_flipped, file_cut, file_missing, files_swapped, file_too_long),
)


ODDITIES: Final = (*BEFORE, *AFTER)

_NEXT_DESKS: Final[Mapping[tuple[str, ...], Sequence[tuple[str, ...]]]] = {
    ("desk-1",): [("desk-1",), ("desk-1",), ("desk-2",), ("desk-1", "desk-2")],
    ("desk-2",): [("desk-2",), ("desk-1",), ("desk-1", "desk-2")],
    ("desk-1", "desk-2"): [("desk-1", "desk-2"), ("desk-3",)],
    ("desk-3",): [("desk-3",)],
}
"""A desk key joins or gives its place to another. Where one of two leaves, TUF's text (5.3.11) and python-tuf
differ in what they forget; we follow the text, and leave that out here."""


@st.composite
def cases(draw: Draw, always: Callable[[Draft], None] | None = None) -> Case:
    """Draw a case: with ``always`` in it and nothing else, or with up to three oddities."""
    count = draw(st.sampled_from((0, 1, 1, 1, 1, 2, 2, 3)))
    chosen = (
        [always] if always else draw(st.lists(st.sampled_from(ODDITIES), min_size=count, max_size=count, unique=True))
    )
    draft = _honest(draw)
    visits: list[Visit] = []
    if draw(st.booleans()):
        first = draw(st.integers(1, len(draft.roots)))  # how many roots there were on the first visit
        visits.append(_first_visit(draft, first))
    _number(draft, draw(st.sampled_from((5, 6, 9))), sequence=draw(st.sampled_from((5, 6))))
    for oddity in (one for one in chosen if one in BEFORE):
        oddity(draft)
    draft.files = {}
    pinned = signed_by(draft.roots[0], *draft.signers["1.root.json"]).to_bytes()
    if visits:
        pinned = visits[0].files["1.root.json"]
    draft.seal()
    for oddity in (one for one in chosen if one in AFTER):
        oddity(draft)
    visits.append(Visit(dict(draft.files), draft.now))
    return Case(pinned, tuple(visits), tuple(one.__name__ for one in chosen))


def _honest(draw: Draw) -> Draft:
    roots: list[Root] = []
    signers: dict[str, list[str]] = {}
    desk: tuple[str, ...] = ("desk-1",)
    for number in range(1, draw(st.integers(1, 4)) + 1):
        desk = draw(st.sampled_from(_NEXT_DESKS[desk]))
        roots.append(_root(draw, number, desk))
        old = roots[-2:-1] or roots[-1:]
        signers[f"{number}.root.json"] = sorted({*_first_of(old[0], "root"), *_first_of(roots[-1], "root")})
    for role in ("targets", "snapshot", "timestamp"):
        signers[f"{role}.json"] = _first_of(roots[-1], role)
    draft = Draft(draw, roots, {}, signers)
    _number(draft, 5, sequence=5)
    return draft


def _root(draw: Draw, number: int, desk: Sequence[str]) -> Root:
    roots = sorted(draw(st.sets(st.sampled_from(["root-1", "root-2", "root-3"]), min_size=1)))
    releases = sorted(draw(st.sets(st.sampled_from(["release-1", "release-2", "release-3"]), min_size=1)))
    roles = {
        "root": (roots, draw(st.integers(1, len(roots)))),
        "targets": (releases, draw(st.integers(1, len(releases)))),
        "snapshot": (desk, 1),
        "timestamp": (desk, 1),
    }
    return make_root(roles, version=number)


def _first_visit(draft: Draft, roots: int) -> Visit:
    """Return a good visit, when there were fewer roots."""
    last = draft.roots[roots - 1]
    signers = {f"{role}.json": _first_of(last, role) for role in ("targets", "snapshot", "timestamp")}
    then = Draft(draft.draw, draft.roots[:roots], draft.documents, {**draft.signers, **signers})
    then.seal()
    return Visit(then.files, NOW)


def _number(draft: Draft, version: int, *, sequence: int) -> None:
    draft.documents = {
        "targets.json": make_targets(version=version, sequence=sequence, release=f"1.{sequence}.0"),
        "snapshot.json": make_snapshot(version=version, targets_version=version),
        "timestamp.json": make_timestamp(version=version, snapshot_version=version),
    }


def _set_role(draft: Draft, role: str, names: list[str], threshold: int) -> None:
    root = draft.roots[-1]
    root.keys |= {key_id(name): signer(name).public_key for name in names}
    root.roles[role].keyids[:] = [key_id(name) for name in names]
    root.roles[role].threshold = threshold


_NAMES: Final = {
    key_id(name): name
    for name in (
        *(f"{role}-{number}" for role in ("root", "release", "desk") for number in (1, 2, 3)),
        *(f"twin-of-release-{number}" for number in (1, 2, 3)),
        "p521-key",
    )
}


def _names(root: Root, role: str) -> list[str]:
    """Return the names of the keys of a role."""
    return [_NAMES[one] for one in root.roles[role].keyids]


def _first_of(root: Root, role: str) -> list[str]:
    return _names(root, role)[: root.roles[role].threshold]
