-- drain: a consumer leaves; peers may adopt its entries at once. Sent after its last claim has returned.
-- KEYS: triggers.  ARGV: consumer.
redis.call('SET', P .. KEY.CONSUMER .. ARGV[1], DRAINED)
redis.call('PUBLISH', P .. KEY.CONTROL, 'drained ' .. ARGV[1])
return 1
