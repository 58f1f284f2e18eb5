"""The client token of a start call: a task that is retried attaches to the job that it has started before.

AWS takes a start call twice with the same token for one, and answers the second with the first one's job. One shape of
token fits every such parameter that AWS has (docs/starts.md lists them; a test holds botocore's models against it).
"""

import uuid

_OURS = uuid.UUID("6b1f0d5e-6a0b-5c0e-9f5e-2f6d7f3b8a41")


def start_token(trigger_id: str, step: str = "") -> str:
    """36 characters, a UUID in small letters; the same for the same arguments, whenever and wherever it is asked for.

    Args:
        trigger_id: Of the deferral that will wait for the job. Another run of the task must have another id, or it
            attaches to the job of the last one.
        step: Tells several jobs of one task apart.
    """
    return str(uuid.uuid5(_OURS, f"{len(trigger_id)}:{trigger_id}{step}"))
