"""The signing room in process: requests, answers and attachments of a house's keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from teraferry.builder.kit import Kit
from teraferry.builder.sign import SigningOutcome, sign_kit
from teraferry.builder.sign_answers import AnswerFile
from teraferry.builder.sign_request import WrittenRequest, request_signatures
from teraferry.builder.signing_room import SigningRoom
from teraferry.bundles.progress import Silent
from teraferry.keys.room.answer import answer_request, encode_answer
from teraferry.keys.room.request import open_request
from teraferry.keys.signers import KeyRing
from tests.lab.house import NOW, House, no_pin


@dataclass
class LabRoom:
    """What people of ``house`` do with one kit."""

    house: House
    kit: Kit

    def request(self, *, since: Kit | None = None, now: datetime = NOW) -> WrittenRequest:
        """Ask for what the kit still needs."""
        with KeyRing(no_pin) as ring:
            return request_signatures(self.kit, self._room(ring, now), since=since)

    def attach(self, answers: Sequence[AnswerFile], *, desk: bool = False, now: datetime = NOW) -> SigningOutcome:
        """Bring ``answers`` back."""
        with KeyRing(no_pin) as ring:
            desk_key = self.house.uris["desk"] if desk else None
            return sign_kit(self.kit, self._room(ring, now), keys=[], desk_key=desk_key, answers=answers)

    def _room(self, ring: KeyRing, now: datetime) -> SigningRoom:
        return SigningRoom(self.house.trust, ring, Silent(), now)


def answer(house: House, name: str, request: bytes, *, now: datetime = NOW) -> AnswerFile:
    """Return what the person with the key ``name`` answers; nothing but ``request`` is used."""
    with KeyRing(no_pin) as ring:
        answered = answer_request(open_request(request), ring.open(house.uris[name]), now=now)
    return AnswerFile(f"{name}.answer", encode_answer(answered))


def tree(kit: Kit) -> dict[str, bytes]:
    """Return every file of ``kit`` by its path."""
    return {str(path.relative_to(kit.folder)): path.read_bytes() for path in kit.folder.rglob("*") if path.is_file()}
