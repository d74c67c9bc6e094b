"""Why a dead broker that was alone is fenced before it starts again, and when it is.

A broker that is both broker and only controller reads from its own metadata log, when it comes back,
that it leads every partition: nobody was left who could have recorded its death. It takes its
coordinators up, and loses them again when the registration of its former life runs out of session.
A transaction whose commit was decided and whose markers were not written falls into that gap: Kafka
4.3.1 finds no leader for its partitions ("likely deleted already and hence can be skipped"), notes
the transaction as complete, and its offsets stay pending for ever. Measured: two of eight restarts
met such a transaction, and both lost its markers.

So the controller runs alone first, until it has fenced the dead broker, as a controller elsewhere
would have done long ago.
"""

from __future__ import annotations

import re
from pathlib import Path

# What the controller, alone, waits for the dead broker to be heard of.
SESSION_MS = 100


def is_unclean(data: Path) -> bool:
    """True if a broker worked on this folder and did not shut down."""
    return (data / "meta.properties").exists() and not (data / ".kafka_cleanshutdown").exists()


def await_fenced(log_text: str, node: int) -> None:
    """Raises ValueError until the controller whose log this is says that the node is fenced."""
    if "Becoming the active controller" not in log_text:
        raise ValueError("its controller is not active yet")
    # Both records that tell it, in the order in which the controller applied them. A registration
    # holds true or false; a change holds 1 (fenced), -1 (no longer) or 0 (as before).
    told = re.findall(rf"Record\(brokerId={node}, .*?\bfenced=(true|false|1|-1)\b", log_text)
    if told and told[-1] in ("false", "-1"):
        raise ValueError("its former life is not fenced yet")
