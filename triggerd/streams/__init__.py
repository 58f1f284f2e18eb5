"""The only files that see a raw Redis reply.

Each verb describes its call once (script, keys, arguments, how to read the answer) as a `Call`; `SyncRedis` and
`AsyncRedis` carry any call out. So the producer's SDK, the daemon and the Resumer share every verb.
"""
