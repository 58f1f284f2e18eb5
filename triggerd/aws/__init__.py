"""The AWS side: named connections, waiters, and one poller for all waits of a process."""

from triggerd.aws.aws import Aws
from triggerd.aws.polling import PollMetrics
from triggerd.trigger import Progress

__all__ = ["Aws", "PollMetrics", "Progress"]
