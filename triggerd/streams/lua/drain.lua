-- drain: a consumer leaves; peers may adopt its entries at once. Sent after its last claim has returned.
-- KEYS: triggers.  ARGV: consumer.
-- With an expiry: nobody would ever delete the word of a consumer that never owned anything. A week is longer than
-- any fleet is away, and after it the consumer is dead like any other.
redis.call('PERSIST', T)  -- as in retire: a full server must let go of a consumer
redis.call('SET', P .. KEY.CONSUMER .. ARGV[1], DRAINED, 'PX', 7 * 24 * 3600 * 1000)
redis.call('PUBLISH', P .. KEY.CONTROL, 'drained ' .. ARGV[1])
return 1
