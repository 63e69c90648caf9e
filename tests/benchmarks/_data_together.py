"""Several commands at once, each of which prints JSON of what it took: the time of the longest.

``python _data_together.py '[["python", ...], ...]'``
"""

import json
import subprocess
import sys


def main() -> None:
    commands = json.loads(sys.argv[1])
    running = [subprocess.Popen(one, stdout=subprocess.PIPE, text=True) for one in commands]
    said = [json.loads(one.communicate()[0]) for one in running]
    print(
        json.dumps(
            {
                "frames": sum(one["frames"] for one in said),
                "seconds": max(one["seconds"] for one in said),
                "cpu_s": sum(one["cpu_s"] for one in said),
            }
        )
    )


if __name__ == "__main__":
    main()
