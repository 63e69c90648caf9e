"""A task whose data no filter can quietly replace.

``TaskController.broadcast_and_wait`` (FLARE 2.9) runs the site's filters, keeps their result in
``task.data``, and then sends what it had *before* them. A filter that changes data in place works;
the result of one that returns something new would be dropped and the unfiltered data sent. Here
such a replacement is an error, which FLARE takes for a failed filter: nothing leaves.
"""

from typing import Any

from nvflare.apis.controller_spec import Task
from nvflare.apis.shareable import Shareable

from fedefm.errors import PolicyRefused


class SealedTask(Task):
    """``data`` can be set once."""

    def __setattr__(self, name: str, value: Any) -> None:
        before: Shareable | None = self.__dict__.get("data")
        if name == "data" and before is not None and value is not before:
            raise PolicyRefused(
                "a filter returned new task data, which FLARE would not send; "
                "let it change the data in place, or refuse"
            )
        super().__setattr__(name, value)
