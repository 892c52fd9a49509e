/**
 * A queue in which there is always something, if only a dataset that is waited for, has a clock that never begins again by
 * itself (fair-share.ts). Long before it is at its end, after years or some hundred thousand workflows, it is wound back
 * together with what waits.
 */
import type { Redis } from 'ioredis';
import type { JobQueue } from './queues.ts';

/** BullMQ takes priorities up to 2^21 - 1, in which our ten stand one after the other, each with so many turns. */
export const TURNS = Math.floor((2 ** 21 - 1) / 10);

/** So far a clock may go. As many turns again are left for those that already wait. */
const FROM = Math.floor(TURNS / 2);

/**
 * What is put off or runs while a clock is wound back keeps its old turn, and so does its hand-over. Once it waits it would
 * stand behind all that comes for years; but no turn is later than the last one that was given, by which it is known, and
 * it gets that one.
 *
 * A score of BullMQ is the priority, and below it a counter of 32 bits.
 *
 * KEYS: the clock, and what waits by priority. ARGV: what the keys of jobs begin with, TURNS, FROM.
 */
const WIND_BACK = `
local turns, wrap = tonumber(ARGV[2]), 4294967296
local fields = redis.call('hgetall', KEYS[1])
local now, last = {}, {}
for at = 1, #fields, 2 do
  local what, priority = string.match(fields[at], '^(%a+):(%d+)')
  local turn = tonumber(fields[at + 1])
  if what == 'now' then now[priority] = turn end
  last[priority] = math.max(last[priority] or 0, turn)
end
for priority, latest in pairs(last) do
  local back = now[priority] or 0
  if back < tonumber(ARGV[3]) then back = 0 end
  local first = (9 - tonumber(priority)) * turns + 1
  local from = first
  if back == 0 then from = first + math.min(latest, turns - 1) + 1 end
  local waiting = redis.call('zrangebyscore', KEYS[2], from * wrap, '(' .. string.format('%.0f', (first + turns) * wrap), 'withscores')
  for at = 1, #waiting, 2 do
    local score = tonumber(waiting[at + 1])
    local turn = math.floor(score / wrap) - first
    local new = math.max(0, math.min(turn, latest) - back)
    redis.call('zadd', KEYS[2], string.format('%.0f', score - (turn - new) * wrap), waiting[at])
    redis.call('hset', ARGV[1] .. waiting[at], 'priority', first + new)
  end
  if back > 0 then
    for at = 1, #fields, 2 do
      if string.match(fields[at], '^%a+:(%d+)') == priority then
        local left = tonumber(fields[at + 1]) - back
        if left > 0 then redis.call('hset', KEYS[1], fields[at], left) else redis.call('hdel', KEYS[1], fields[at]) end
      end
    end
  end
end`;

export async function windBack(redis: Redis, clock: string, queue: JobQueue): Promise<void> {
  await redis.eval(WIND_BACK, 2, clock, queue.toKey('prioritized'), queue.toKey(''), TURNS, FROM);
}
