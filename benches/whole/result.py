"""What a measurement brings, and the table of them all."""

from dataclasses import asdict, dataclass, field


@dataclass
class Result:
    """A row of the table."""

    name: str
    what: str
    goal: str
    figure: str
    peers: str = "-"
    # None: there is no goal, or it was not measured as the goal means it.
    met: bool | None = None
    notes: list[str] = field(default_factory=list)
    quick: bool = False
    busy: bool = False
    # Of tools that were built without optimizing: no figure to compare with.
    unoptimized: bool = False

    def verdict(self):
        return {True: "yes", False: "**no**", None: "-"}[self.met]

    def row(self):
        marks = "".join(mark for mark, is_so in (("†", self.quick), ("‡", self.busy), ("§", self.unoptimized)) if is_so)
        cells = [f"`{self.name}`{marks}", self.what, self.goal, self.figure, self.peers, self.verdict()]
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

    def to_json(self):
        return asdict(self)


HEAD = "| | what | goal | here | peers, in the same run | met |\n|---|---|---|---|---|---|\n"


def table(results):
    return HEAD + "".join(result.row() + "\n" for result in results)
