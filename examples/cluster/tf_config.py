"""TF_CONFIG of one worker, from the list of all hosts and this one's place in it.

Command: python tf_config.py INDEX HOST [HOST ...] [--port 12345]

Prints one line of JSON. Every worker wants the same list in the same order.
"""

import argparse
import json

PORT = 12345


def tf_config(hosts, index, port=PORT):
    """The value of TF_CONFIG on host `index`, counted from 0, as a string."""
    if not 0 <= index < len(hosts):
        raise ValueError(
            f"`index` wants 0 to {len(hosts) - 1}, the place of this host among "
            f"{hosts}. Received: {index}"
        )
    places = [host if ":" in host else f"{host}:{port}" for host in hosts]
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": places}, "task": task})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=int)
    parser.add_argument("hosts", nargs="+")
    parser.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args()
    print(tf_config(given.hosts, given.index, given.port))


if __name__ == "__main__":
    main()
