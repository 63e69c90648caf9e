"""Numbers as people write them: one patient, two patients, rows 2-9 and 12; and names."""

from collections.abc import Sequence


def several(number: int, noun: str, many: str = "") -> str:
    """``1 problem``, ``1,200 problems``, or with a plural of its own: ``2 entries``."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def spans(numbers: Sequence[int], most: int = 6) -> str:
    """Ascending numbers, runs drawn together: ``2-9, 12 and 14``, or ``2, 4, 7 and 31 more``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    said = [f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts[:most]]
    left = sum(map(len, parts[most:]))
    if left:
        return f"{', '.join(said)} and {left:,} more"
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def printable(text: str) -> str:
    """A name as tables and terminals can have it: what would not be shown becomes codes."""
    letters = (
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
    return "".join(letters)
