"""Makes own.json beside it: python tests/vectors/log/make_vectors.py

Written from log.md alone and against nothing of sealstat, so that it is a second opinion: the tree is the RFC's
recursion, the notes are put together byte by byte. Keys are seeds SHA-256("sealstat-vectors:<what>").
"""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORIGIN = "vectors.example/log"
TIME = 1_790_000_000


def b64(data):
    return base64.b64encode(data).decode()


def sha(data):
    return hashlib.sha256(data).digest()


# --- the tree ---


def entry(i):
    return b"vector entry %d" % i


def mth(d):
    if not d:
        return sha(b"")
    if len(d) == 1:
        return sha(b"\x00" + d[0])
    k = 1
    while 2 * k < len(d):
        k *= 2
    return sha(b"\x01" + mth(d[:k]) + mth(d[k:]))


def path(m, d):
    if len(d) == 1:
        return []
    k = 1
    while 2 * k < len(d):
        k *= 2
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m, d, whole):
    if m == len(d):
        return [] if whole else [mth(d)]
    k = 1
    while 2 * k < len(d):
        k *= 2
    if m <= k:
        return [*subproof(m, d[:k], whole), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def tree(size):
    return [entry(i) for i in range(size)]


def merkle():
    inclusion, consistency = [], []

    def include(name, index, size, leaf, root, proof, valid):
        inclusion.append(
            {
                "id": name,
                "index": index,
                "size": size,
                "leaf_hash": b64(leaf),
                "root": b64(root),
                "proof": [b64(p) for p in proof],
                "valid": valid,
            }
        )

    def consist(name, m, n, root1, root2, proof, valid):
        consistency.append(
            {
                "id": name,
                "size1": m,
                "size2": n,
                "root1": b64(root1),
                "root2": b64(root2),
                "proof": [b64(p) for p in proof],
                "valid": valid,
            }
        )

    for index, size in ((0, 1), (1, 2), (2, 3), (5, 7), (6, 7), (31, 33), (32, 33), (100, 257), (256, 257)):
        d = tree(size)
        leaf, root, proof = mth([d[index]]), mth(d), path(index, d)
        name = f"{index}-of-{size}"
        include(name, index, size, leaf, root, proof, True)
        include(f"{name}-node-as-leaf", index, size, sha(b"\x01" + d[index]), root, proof, False)
        include(f"{name}-index-beyond", size, size, leaf, root, proof, False)
        include(f"{name}-index-negative", -1, size, leaf, root, proof, False)
        include(f"{name}-hash-added", index, size, leaf, root, [*proof, sha(b"more")], False)
        include(f"{name}-root-short", index, size, leaf, root[:31], proof, False)
        if proof:
            include(f"{name}-hash-dropped", index, size, leaf, root, proof[:-1], False)
            include(f"{name}-hash-short", index, size, leaf, root, [proof[0][:31], *proof[1:]], False)
    include("65-hashes", 0, 2**63, sha(b"l"), sha(b"r"), [sha(b"p")] * 65, False)
    for m, n in ((1, 2), (2, 3), (3, 7), (4, 7), (7, 8), (6, 33), (32, 33), (33, 200), (128, 257), (256, 257)):
        root1, root2, proof = mth(tree(m)), mth(tree(n)), subproof(m, tree(n), True)
        forked = mth([b"another first entry", *tree(m)[1:]])
        name = f"{m}-to-{n}"
        consist(name, m, n, root1, root2, proof, True)
        consist(f"{name}-fork", m, n, forked, root2, proof, False)
        consist(f"{name}-shrinks", n, m, root2, root1, proof, False)
        consist(f"{name}-no-proof", m, n, root1, root2, [], False)
        consist(f"{name}-hash-added", m, n, root1, root2, [*proof, sha(b"more")], False)
        consist(f"{name}-hash-dropped", m, n, root1, root2, proof[:-1], False)
        consist(f"{name}-reversed", m, n, root1, root2, proof[::-1], len(proof) == 1)
    consist("0-to-5", 0, 5, sha(b""), mth(tree(5)), [], True)
    consist("0-to-5-with-proof", 0, 5, sha(b""), mth(tree(5)), [sha(b"p")], False)
    consist("5-to-5-two-roots", 5, 5, mth(tree(5)), mth([b"x", *tree(4)]), [], False)
    paths = [
        (0, 0, 256, "tile/0/000"),
        (3, 12, 1, "tile/3/012.p/1"),
        ("entries", 1000, 255, "tile/entries/x001/000.p/255"),
        (0, 10**18 + 5, 256, "tile/0/x001/x000/x000/x000/x000/x000/005"),
    ]
    return {
        "tile_paths": [dict(zip(("level", "index", "width", "path"), row, strict=True)) for row in paths],
        "bad_tile_paths": [
            "",
            "tile",
            "tile/0/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/000\n",
            "tile/0/00０",
            "tile/1/../000",
            "tile/0/000.p/300",
            "tile/100/000",
            "tile/entries/000.p/256",
            "tile/0/X001/000",
            "tile/0/" + "x999/" * 7 + "999",
        ],
        "partial_widths": [
            {"size": 0, "tiles": {}},
            {"size": 512, "tiles": {"0": [2, 0], "1": [0, 2]}},
            {"size": 2**24 + 257, "tiles": {"0": [65537, 1], "1": [256, 1], "2": [1, 0], "3": [0, 1]}},
        ],
        "inclusion": inclusion,
        "consistency": consistency,
    }


# --- notes ---


def key(what):
    return Ed25519PrivateKey.from_private_bytes(sha(b"sealstat-vectors:" + what.encode()))


def public(what):
    return key(what).public_key().public_bytes_raw()


def key_id(name, kind, what):
    return sha(name.encode() + b"\n" + bytes([kind]) + public(what))[:4]


def vkey(name, kind, what):
    return f"{name}+{key_id(name, kind, what).hex()}+{b64(bytes([kind]) + public(what))}"


def signed(text, name=ORIGIN, what="log"):
    return f"— {name} {b64(key_id(name, 1, what) + key(what).sign(text.encode()))}\n"


def cosigned(text, name, what, time=TIME):
    message = f"cosignature/v1\ntime {time}\n{text}".encode()
    return f"— {name} {b64(key_id(name, 4, what) + time.to_bytes(8, 'big') + key(what).sign(message))}\n"


def text_of(size, root=None, origin=ORIGIN):
    return f"{origin}\n{size}\n{b64(mth(tree(size)) if root is None else root)}\n"


LOG = vkey(ORIGIN, 1, "log")
W1 = vkey("w1.example", 4, "w1")
W2 = vkey("w2.example", 4, "w2")
W1_AGAIN = vkey("w1-again.example", 4, "w1")


def notes():
    cases = []

    def case(name, valid, note, keys=(LOG,), kind="note", quorum=0, verified=(), origin=ORIGIN):
        cases.append(
            {
                "id": name,
                "kind": kind,
                "note": note,
                "keys": list(keys),
                "valid": valid,
                "verified": list(verified),
                "origin": origin,
                "quorum": quorum,
            }
        )

    text = "one\n\nthree\n"
    by_log = [f"{ORIGIN}+{key_id(ORIGIN, 1, 'log').hex()}"]
    case("good", True, f"{text}\n{signed(text)}", verified=by_log)
    case("100-lines", True, f"{text}\n{signed(text)}" + "— u.example AAAAAAA=\n" * 99, verified=by_log)
    case("101-lines", False, f"{text}\n{signed(text)}" + "— u.example AAAAAAA=\n" * 100)
    case("too-long", False, f"{'x' * 65536}\n\n{signed('x' * 65536 + chr(10))}")
    case("carriage-return", False, "a\r\n\n" + signed("a\r\n"))
    case("escape-in-name", False, f"{text}\n{signed(text)}— a\x1bb AAAAAAA=\n")
    case("no-break-space-in-name", False, f"{text}\n{signed(text)}— a\u00a0b AAAAAAA=\n")
    case("plus-in-name", False, f"{text}\n{signed(text)}— a+b AAAAAAA=\n")
    case("name-missing", False, f"{text}\n{signed(text)}—  AAAAAAA=\n")
    case("id-alone", False, f"{text}\n{signed(text)}— u.example AAAAAA==\n")
    case("two-spaces", False, f"{text}\n{signed(text).replace(' ', '  ', 1)}")
    case("base64-url-safe", False, f"{text}\n{signed(text)}— u.example -_-_-_-_\n")
    case("only-signature", False, signed(text))
    case("empty-text", False, f"\n\n{signed(chr(10))}")
    case("empty", False, "")

    cp = text_of(7)
    w1, w2 = cosigned(cp, "w1.example", "w1"), cosigned(cp, "w2.example", "w2")
    ids = [*by_log, f"w1.example+{key_id('w1.example', 4, 'w1').hex()}"]
    ids2 = [*ids, f"w2.example+{key_id('w2.example', 4, 'w2').hex()}"]
    again = [*ids, f"w1-again.example+{key_id('w1-again.example', 4, 'w1').hex()}"]
    both_names = f"{cp}\n{signed(cp)}{w1}{cosigned(cp, 'w1-again.example', 'w1')}"

    def checkpoint(name, valid, note, keys=(LOG, W1, W2), quorum=2, verified=()):
        case(name, valid, note, keys, "checkpoint", quorum, verified)

    checkpoint("quorum", True, f"{cp}\n{signed(cp)}{w1}{w2}", verified=ids2)
    checkpoint("quorum-short", False, f"{cp}\n{signed(cp)}{w1}")
    checkpoint("one-witness-repeated", False, f"{cp}\n{signed(cp)}{w1}{w1}")
    two_times = f"{cp}\n{signed(cp)}{w1}{cosigned(cp, 'w1.example', 'w1', TIME + 9)}"
    checkpoint("one-witness-two-times", False, two_times)
    checkpoint("one-key-two-names", False, both_names, (LOG, W1, W1_AGAIN))
    checkpoint("one-key-two-names-quorum-1", True, both_names, (LOG, W1, W1_AGAIN), 1, again)
    checkpoint("log-did-not-sign", False, f"{cp}\n{w1}{w2}")
    checkpoint("time-2^63", False, f"{cp}\n{signed(cp)}{w1}{cosigned(cp, 'w2.example', 'w2', 2**63)}")
    zero = text_of(0, sha(b"x"))
    checkpoint("empty-tree-false-root", False, f"{zero}\n{signed(zero)}", quorum=0)
    odd = cp.replace("7", "٧")
    checkpoint("size-arabic-digit", False, f"{odd}\n{signed(odd)}", quorum=0)
    for name, vk in (("other-type-byte", LOG.replace("+A", "+B", 1)), ("empty-key", "a+00000000+"), ("empty", "")):
        case(f"vkey-{name}", False, "", [vk], "vkey")
    return {"cases": cases}


# --- proof files and a witness ---


def proofs():
    cp = text_of(21)
    note = f"{cp}\n{signed(cp)}{cosigned(cp, 'w1.example', 'w1')}"
    cases = []

    def case(name, valid, proof, about):
        cases.append({"id": name, "proof": proof, "entry": entry(about).decode(), "valid": valid})

    for i in (0, 15, 16, 20):
        hashes = "".join(b64(p) + "\n" for p in path(i, tree(21)))
        head = "c2sp.org/tlog-proof@v1\n"
        case(f"good-{i}", True, f"{head}index {i}\n{hashes}\n{note}", i)
        case(f"good-{i}-empty-extra", True, f"{head}extra \nindex {i}\n{hashes}\n{note}", i)
        case(f"other-{i}", False, f"{head}index {i}\n{hashes}\n{note}", i + 1)
        case(f"crlf-{i}", False, f"{head}index {i}\r\n{hashes}\n{note}", i)
        case(f"extra-twice-{i}", False, f"{head}extra AAAA\nextra AAAA\nindex {i}\n{hashes}\n{note}", i)
        case(f"uncosigned-{i}", False, f"{head}index {i}\n{hashes}\n{cp}\n{signed(cp)}", i)
        case(f"64-hashes-{i}", False, f"{head}index {i}\n{(b64(sha(b'p')) + chr(10)) * 64}\n{note}", i)
        case(f"not-ascii-{i}", False, f"{head}index {i}\n{hashes}é\n\n{note}", i)
        case(f"begins-with-line-feed-{i}", False, f"\n{head}index {i}\n{hashes}\n{note}", i)
    return {"origin": ORIGIN, "log": LOG, "witness": W1, "cases": cases}


def witness():
    steps = []

    def step(name, status, old, proof, text, lines=None, reply=None, head=None):
        body = head if head is not None else f"old {old}\n" + "".join(b64(p) + "\n" for p in proof)
        steps.append(
            {"id": name, "body": f"{body}\n{text}\n{signed(text) if lines is None else lines}", "status": status}
        )
        if reply is not None:
            steps[-1]["reply"] = reply

    t3, t10 = text_of(3), text_of(10)
    to10 = subproof(3, tree(10), True)
    step("no-old-line", 400, 0, [], t3, head="")
    step("negative-old", 400, -1, [], t3)
    step("old-with-carriage-return", 400, 0, [], t3, head="old 0\r\n")
    step("64-hashes", 400, 0, [sha(b"p")] * 64, t3)
    step("short-hash", 400, 0, [b"short"], t3)
    step("unsigned", 403, 0, [], t3, signed(t3, what="other"))
    step("two-line-checkpoint", 400, 0, [], f"{ORIGIN}\n3\n")
    step("size-beyond-64-bits", 400, 0, [], text_of(3).replace("3", str(2**64), 1))
    step("first", 200, 0, [], t3)
    step("first-again", 409, 0, [], t3, reply="3\n")
    step("fork", 422, 3, to10, text_of(10, mth([b"x", *tree(10)[1:]])))
    step("grow", 200, 3, to10, t10)
    step("back", 400, 10, [], t3)
    step("back-with-old-size", 409, 3, [], t3, reply="10\n")
    step("unchanged", 200, 10, [], t10)
    return {
        "origin": ORIGIN,
        "log": LOG,
        "monitoring_path": hashlib.sha256(ORIGIN.encode()).hexdigest() + "/checkpoint",
        "steps": steps,
    }


if __name__ == "__main__":
    made = {"merkle": merkle(), "notes": notes(), "tlog-proof": proofs(), "witness": witness()}
    text = json.dumps(made, indent=1, ensure_ascii=True) + "\n"
    Path(__file__).with_name("own.json").write_text(text, encoding="ascii")
