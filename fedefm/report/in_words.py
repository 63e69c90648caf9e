"""What a figure shows, in words and figures, for whoever cannot see it."""

from collections.abc import Callable, Mapping, Sequence

from fedefm.report.numbers import count, listed

Shown = Callable[[float], str]  # a value with its unit
MOST = 10  # lines, sites or pairs told one by one


def curves(series: Mapping[str, Sequence[tuple[int, float]]], shown: Shown) -> str:
    """Where each line begins and ends; of many lines only the lowest and the highest end."""
    told = {name: points for name, points in series.items() if points}
    if len(told) > MOST:
        ends = sorted(told, key=lambda name: told[name][-1][1])
        low, high = ends[0], ends[-1]
        return (
            f"{len(told)} lines, which end between {shown(told[low][-1][1])} ({low}) and "
            f"{shown(told[high][-1][1])} ({high})."
        )
    return " ".join(f"{name}: {_course(points, shown)}." for name, points in told.items())


def _course(points: Sequence[tuple[int, float]], shown: Shown) -> str:
    (first, begin), (last, end) = points[0], points[-1]
    if first == last:
        return f"{shown(end)} in round {last}"
    return f"from {shown(begin)} in round {first} to {shown(end)} in round {last}"


def bars(values: Mapping[str, float], shown: Shown, noun: str = "bar") -> str:
    """Each value, or of many the smallest and the largest; ``noun`` says what they are of."""
    if len(values) > MOST:
        low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
        return (
            f"{count(len(values), noun)}, from {shown(values[low])} ({low}) to "
            f"{shown(values[high])} ({high})."
        )
    return f"{listed(f'{name} {shown(value)}' for name, value in values.items())}."


def graph(edges: Sequence[tuple[str, str]]) -> str:
    """Who is joined to whom, or to how many."""
    partners: dict[str, list[str]] = {}
    for a, b in edges:
        partners.setdefault(a, []).append(b)
        partners.setdefault(b, []).append(a)
    if len(edges) <= 2 * MOST:
        return " ".join(f"{name} with {listed(others)}." for name, others in partners.items())
    numbers = sorted(len(others) for others in partners.values())
    return (
        f"{count(len(edges), 'line')} between {len(partners)} parties, each of which has "
        f"{numbers[0]} to {numbers[-1]} partners."
    )
