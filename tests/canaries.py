"""Planted private values, and every form in which somebody could have stored them."""

import base64


def canary_forms(value: bytes) -> set[bytes]:
    """A private value as it could be stored: raw, reversed, as hex, as base64 at every alignment, as a number."""
    forms = {value, value[::-1]}
    if value.isdigit():
        number = int(value)
        forms |= {number.to_bytes(8, "little")[:7], number.to_bytes(8, "big")[1:], f"{number:x}".encode()}
    else:
        forms |= {str(int.from_bytes(value, order)).encode() for order in ("big", "little")}
    found = set()
    for form in forms:
        found |= {form, form.hex().encode(), form.hex().upper().encode()}
        for shift in range(3):
            for coded in (base64.b64encode, base64.urlsafe_b64encode):
                found.add(coded(bytes(shift) + form).rstrip(b"=")[shift + 1 : -1])
    return found
