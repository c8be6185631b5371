"""What happens inside Redis: the keys, and the Lua scripts that read and write them.

    gateway:sandbox:<id>    hash: address, generation, ipv4, host, protocol; expires by itself where it has a lifetime
    gateway:sandboxes       sorted set of the ids, all with score 0, so that its order is the order of the ids
    gateway:generation      the last generation given out
    gateway:changes         stream of the last ten thousand changes or so, one field each: id

A script is one step for everybody, so neither generations nor `If-Match` need a lock. The scripts compute the names of
keys, which Redis Cluster does not allow. A record is returned as the list [id, address, generation, ipv4, host,
protocol, milliseconds left], texts but for the last; what it has not is "", and -1 the time left of one that stays. One
that nobody can read is the list [id, what is wrong with it].

Redis does nothing else while a script runs, for any gateway, so each has an end that does not depend on how much there
is: a step of `tend` or of a page looks at so many ids and no more. Others may write to the keys, so nothing about them
is taken for granted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

RECORD, INDEX, GENERATION, CHANGES = "gateway:sandbox:", "gateway:sandboxes", "gateway:generation", "gateway:changes"

KEPT_CHANGES = 10_000
"""Entries the stream keeps at least."""
START = "0-0"
"""Before the first entry of a stream."""
LAST = f"{2**64 - 1}-{2**64 - 1}"
"""The greatest id that an entry can have. After it Redis adds none to that stream for ever."""
MAX_ID = 57
"""Octets of a sandbox id; what is longer is none, and stays in Redis."""
MAX_FIELD = 1024
"""Octets of a field of a record; what is longer is no such field, and stays in Redis."""
MAX_NEWS = 64 * 1024
"""Octets of changes, more or less, after which a script reads no more of them: twice what as many hold as are asked for
at a time. Somebody else's may be of any size, and Redis would copy all of them before it answers anybody."""
NEWS_STEP = 10
"""Changes read between two looks at how many octets that were."""


@dataclass(frozen=True, slots=True)
class Script:
    """Lua, and the SHA-1 of it that Redis knows it by."""

    text: str
    digest: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_COMMON = f"""
local RECORD, INDEX, GENERATION, CHANGES = '{RECORD}', '{INDEX}', '{GENERATION}', '{CHANGES}'

local function kind_of(key) return redis.call('TYPE', key).ok end

-- Whoever has written the LAST entry has ended the stream. Another has to begin, and readers find the gap.
local function has_ended()
  local about = kind_of(CHANGES) == 'stream' and redis.call('XINFO', 'STREAM', CHANGES) or {{}}
  for at = 1, #about, 2 do
    if about[at] == 'last-generated-id' then return about[at + 1] == '{LAST}' end
  end
end

local function record(id)
  local key = RECORD .. id
  local kind = kind_of(key)
  if kind == 'none' then return nil end
  if kind ~= 'hash' then return {{id, 'is no hash but a ' .. kind}} end
  for _, field in ipairs({{'address', 'generation', 'ipv4', 'host', 'protocol'}}) do
    local octets = redis.call('HSTRLEN', key, field)
    if octets > {MAX_FIELD} then
      if redis.call('HEXISTS', key, 'address') == 0 then return nil end
      return {{id, 'has a field of ' .. octets .. ' octets'}}
    end
  end
  local found = redis.call('HMGET', key, 'address', 'generation', 'ipv4', 'host', 'protocol')
  if not found[1] then return nil end
  local generation = found[2]
  if not generation or generation == '' then generation = found[1] end
  local ipv4, host, protocol = found[3] or '', found[4] or '', found[5] or ''
  return {{id, found[1], generation, ipv4, host, protocol, redis.call('PTTL', key)}}
end
"""

# The beginning of each script that writes. ARGV: id, then what must be in force: "=" and a generation, "*" any record,
# "-" no record, "" any or none. If it is not, returns ["conflict", the generation in force, "" if the record is broken,
# nil for no record].
#
# Redis undoes no script, so its steps are listed first, and begun when nothing can refuse one of them any more: the
# kinds of the keys are known, and what this user may not do, or a Redis that renames commands does not have, is asked
# for (Redis 7.0 and later can tell). A replica, or one that cannot save, refuses the first step, and so does a full
# memory, but only if that step may need more.
_WRITING = f"""
local steps = {{}}
local function step(...) steps[#steps + 1] = {{...}} end

local function announce(id)
  if has_ended() then step('UNLINK', CHANGES) end
  step('XADD', CHANGES, 'MAXLEN', '~', {KEPT_CHANGES}, '*', 'id', id)
end

local function carry_out(outcome)
  for _, command in ipairs(redis.acl_check_cmd and steps or {{}}) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM this user may not ' .. command[1] .. ' ' .. command[2])
    end
  end
  for _, command in ipairs(steps) do redis.call(unpack(command)) end
  return outcome
end

for key, kind in pairs({{[INDEX] = 'zset', [CHANGES] = 'stream'}}) do
  local found = kind_of(key)
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is no ' .. kind .. ' but a ' .. found)
  end
end
local id, expected, before = ARGV[1], ARGV[2], record(ARGV[1])
local met = expected == ''
if before then
  met = met or expected == '*' or expected == '=' .. (before[3] or '')
else
  met = met or expected == '-'
end
if not met then
  return {{'conflict', before and (before[3] or '') or false}}
end
"""

# ARGV: id. Returns a record or nil.
FETCH = _script(_COMMON, "return record(ARGV[1])")

# ARGV: id, expectation, address, ipv4, host, protocol, lifetime in milliseconds or nothing. Returns ["stored",
# generation].
# A generation is the time in microseconds, or one more than the last: it repeats neither when Redis has lost its data
# nor after a failover to a replica that had not heard of the last ones. One that may be no text is not kept.
PUT = _script(
    _COMMON,
    _WRITING,
    """
local address, ipv4, host, protocol, lifetime = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local generation, anew = before and before[3], not before or before[2] ~= address or before[3]:find('[\\128-\\255]')
if anew then
  local now, last = redis.call('TIME'), kind_of(GENERATION) == 'string' and tonumber(redis.call('GET', GENERATION)) or 0
  if not (last > 0 and last < 2^53) then last = 0 end  -- somebody else's, and no number to count on from
  generation = string.format('%.0f', math.max(math.floor(last) + 1, now[1] * 1000000 + now[2]))
end
local sooner = not anew and lifetime ~= '' and (before[7] < 0 or tonumber(lifetime) < before[7])
local differs = not anew and (before[4] ~= ipv4 or before[5] ~= host or before[6] ~= protocol)
if anew or differs or sooner then announce(id) end
if anew then step('SET', GENERATION, generation) end
step('UNLINK', RECORD .. id)
step('HSET', RECORD .. id, 'address', address, 'generation', generation)
step('HSET', RECORD .. id, 'ipv4', ipv4, 'host', host, 'protocol', protocol)
if lifetime ~= '' then step('PEXPIRE', RECORD .. id, lifetime) end
step('ZADD', INDEX, 0, id)
return carry_out({'stored', generation})
""",
)

# ARGV: id, expectation. Returns ["removed" or "absent", ""]. Begins with what a full memory does not refuse.
REMOVE = _script(
    _COMMON,
    _WRITING,
    """
step('UNLINK', RECORD .. id)
step('ZREM', INDEX, id)
if before then announce(id) end
return carry_out({before and 'removed' or 'absent', ''})
""",
)

# ARGV: the bound to begin at, as ZRANGEBYLEX has it; how many ids to look at. Returns [how many there were, the last of
# them, cut after one octet more than any has, the records under them]. Changes nothing: a replica is asked, too.
PAGE = _script(
    _COMMON,
    f"""
local ids, rows = redis.call('ZRANGEBYLEX', INDEX, ARGV[1], '+', 'LIMIT', 0, ARGV[2]), {{}}
for _, id in ipairs(ids) do
  if #id <= {MAX_ID} then rows[#rows + 1] = record(id) end
end
return {{#ids, string.sub(ids[#ids] or '', 1, {MAX_ID} + 1), rows}}
""",
)

# ARGV: where to go on, "0" for the beginning; how many ids to look at, more or less. Returns [where to go on from
# there, how many ids were taken out because there is nothing under them]. What somebody has listed with a score gets
# the score of all others: else it would be out of order. A stream that has ended is taken out, too.
TEND = _script(
    _COMMON,
    """
if has_ended() then redis.call('UNLINK', CHANGES) end
local step, gone = redis.call('ZSCAN', INDEX, ARGV[1], 'COUNT', ARGV[2]), 0
for at = 1, #step[2], 2 do
  local id = step[2][at]
  if redis.call('EXISTS', RECORD .. id) == 0 then
    gone = gone + redis.call('ZREM', INDEX, id)
  elseif step[2][at + 1] ~= '0' then
    redis.call('ZADD', INDEX, 0, id)
  end
end
return {step[1], gone}
""",
)

# ARGV: the entry that was read last, "" for none yet; how many changes at most. Returns [the entry read last now, 1 if
# nothing between the two was missed or else 0, the ids of the entries in between, "" for one that names none]: fewer
# than there are, perhaps, if they are large.
# Entries leave the stream from its beginning, so nothing after an entry that is still there has left; neither has
# anything where nothing was and no entry can have left yet. Where something was missed the end is where to go on.
NEWS = _script(
    _COMMON,
    f"""
local from, most, ids, octets = ARGV[1], tonumber(ARGV[2]), {{}}, 0
local function entries_from(bound, count) return redis.call('XRANGE', CHANGES, bound, '+', 'COUNT', count) end

local first = from == '' and {{}} or entries_from(from, 1)
if not (first[1] and first[1][1] == from) and (from ~= '{START}' or redis.call('XLEN', CHANGES) >= {KEPT_CHANGES}) then
  local last = redis.call('XREVRANGE', CHANGES, '+', '-', 'COUNT', 1)[1]
  return {{last and last[1] or '{START}', 0, ids}}
end
repeat
  local before = #ids
  local entries = entries_from(from, math.min({NEWS_STEP}, most - before) + 1)
  local next = entries[1] and entries[1][1] == from and 2 or 1
  for number = next, math.min(#entries, next + most - before - 1) do
    local fields, id = entries[number][2], ''
    for at = 1, #fields - 1, 2 do
      octets = octets + #fields[at] + #fields[at + 1]
      if fields[at] == 'id' and #fields[at + 1] <= {MAX_ID} then id = fields[at + 1] end
    end
    ids[#ids + 1], from = id, entries[number][1]
  end
until #ids == before or #ids >= most or octets > {MAX_NEWS}
return {{from, 1, ids}}
""",
)
