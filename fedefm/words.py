"""Numbers with their nouns, as people write them: one patient, two patients."""


def several(number: int, noun: str, many: str = "") -> str:
    """``1 problem``, ``1,200 problems``, or with a plural of its own: ``2 entries``."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"
