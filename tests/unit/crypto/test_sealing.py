from typing import Any

import pytest

from sealstat.agreement import contexts
from sealstat.crypto.cards import b64, unb64
from sealstat.crypto.errors import SealError
from sealstat.crypto.identity import Opener
from sealstat.crypto.sealing import seal, unseal

OPENER = Opener.generate()
A, F, T, R, D = "a" * 64, "f" * 64, "1" * 64, "2" * 64, "3" * 64
CONTEXTS: dict[str, dict[str, Any]] = {
    "linkage": contexts.linkage_share(A, giver=F, receiver=T, group="roamers", period="2026-10"),
    "linkage of another period": contexts.linkage_share(A, giver=F, receiver=T, group="roamers", period="2026-11"),
    "linkage of another group": contexts.linkage_share(A, giver=F, receiver=T, group="persons", period="2026-10"),
    "linkage of another giver": contexts.linkage_share(A, giver=R, receiver=T, group="roamers", period="2026-10"),
    "key": contexts.delivery_key(A, owner=F, instance=T, request=R, delivery=D),
    "key of another agreement": contexts.delivery_key(D, owner=F, instance=T, request=R, delivery=D),
    "key of another owner": contexts.delivery_key(A, owner=R, instance=T, request=R, delivery=D),
    "key to another instance": contexts.delivery_key(A, owner=F, instance=D, request=R, delivery=D),
    "key for another request": contexts.delivery_key(A, owner=F, instance=T, request=D, delivery=D),
    "key of another delivery": contexts.delivery_key(A, owner=F, instance=T, request=R, delivery=A),
    "part": contexts.output_key(A, instance=F, consumer=T, request=R, task="visitors", c=0, table="all"),
    "part of another table": contexts.output_key(A, instance=F, consumer=T, request=R, task="visitors", c=0, table="b"),
    "part of another counter": contexts.output_key(
        A, instance=F, consumer=T, request=R, task="visitors", c=1, table="all"
    ),
    "share": contexts.result_share(A, instance=F, holder=T, task="visitors", c=0, outputs=D),
    "share of another counter": contexts.result_share(A, instance=F, holder=T, task="visitors", c=1, outputs=D),
    "share of other outputs": contexts.result_share(A, instance=F, holder=T, task="visitors", c=0, outputs=R),
    "release": contexts.result_release(A, holder=F, consumer=T, record=R),
    "release of another record": contexts.result_release(A, holder=F, consumer=T, record=D),
    "refusal": contexts.refusal_detail(A, instance=F, owner=T, request=R),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_ciphertext_opens_in_its_own_context_alone(name: str) -> None:
    sealed = seal(OPENER.public(), CONTEXTS[name], b"a secret")
    for other, context in CONTEXTS.items():
        if other == name:
            assert unseal(OPENER, context, sealed) == b"a secret"
        else:
            with pytest.raises(SealError):
                unseal(OPENER, context, sealed)


def test_it_opens_for_its_receiver_alone_and_only_unchanged() -> None:
    context = CONTEXTS["key"]
    sealed = seal(OPENER.public(), context, b"a secret")
    with pytest.raises(SealError):
        unseal(Opener.generate(), context, sealed)
    for index in (0, 500, len(unb64(sealed)) - 1):
        wrong = bytearray(unb64(sealed))
        wrong[index] ^= 1
        with pytest.raises(SealError):
            unseal(OPENER, context, b64(bytes(wrong)))
    for text in ("", "AAAA", "not base64"):
        with pytest.raises(SealError):
            unseal(OPENER, context, text)


def test_both_halves_of_the_sealing_key_are_needed() -> None:
    other = Opener.generate()
    sealed = seal(OPENER.public(), CONTEXTS["key"], b"a secret")
    for half in (Opener(OPENER.mlkem768, other.x25519), Opener(other.mlkem768, OPENER.x25519)):
        with pytest.raises(SealError):
            unseal(half, CONTEXTS["key"], sealed)


def test_a_key_comes_back_from_its_keystore_form_and_does_not_show_itself() -> None:
    again = Opener.from_secret(OPENER.to_secret())
    assert unseal(again, CONTEXTS["key"], seal(OPENER.public(), CONTEXTS["key"], b"x")) == b"x"
    assert all(secret not in repr(OPENER) for secret in OPENER.to_secret().values())
