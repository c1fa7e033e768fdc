"""What a spawned process runs: in a module that imports little."""

from multiprocessing.connection import Connection

import openm3w


def tell_names(windows: "openm3w.Windows", pipe: Connection) -> None:
    pipe.recv()
    pipe.send([windows[index]["window_id"] for index in range(len(windows))])
