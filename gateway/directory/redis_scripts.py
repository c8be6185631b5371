"""What happens inside Redis: the keys, and the Lua scripts that read and write them.

    gateway:sandbox:<id>    hash: address, generation, ipv4, host; expires by itself where the record has a lifetime
    gateway:sandboxes       sorted set of the ids, all with score 0, so that its order is the order of the ids
    gateway:generation      the last generation given out
    gateway:changes         stream of the last ten thousand changes or so, one field each: id

A script is one step for everybody, so neither generations nor `If-Match` need a lock. The scripts compute the names of
keys, which Redis Cluster does not allow. A record is returned as the list [id, address, generation, ipv4, host,
milliseconds left], texts but for the last; what it has not is "", and -1 the time left of one that stays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

RECORD, INDEX, GENERATION, CHANGES = "gateway:sandbox:", "gateway:sandboxes", "gateway:generation", "gateway:changes"

KEPT_CHANGES = 10_000
"""Entries the stream keeps at least."""
START = "0-0"
"""Before the first entry of a stream."""
MAX_ID = 57
"""Octets of a sandbox id; what is longer is none, and stays in Redis."""


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

local function record(id)
  local found = redis.call('HMGET', RECORD .. id, 'address', 'generation', 'ipv4', 'host')
  if not found[1] then return nil end
  local generation = found[2]
  if not generation or generation == '' then generation = found[1] end
  return {{id, found[1], generation, found[3] or '', found[4] or '', redis.call('PTTL', RECORD .. id)}}
end

local function announce(id)
  redis.call('XADD', CHANGES, 'MAXLEN', '~', {KEPT_CHANGES}, '*', 'id', id)
end
"""

# The beginning of each script that writes. ARGV: id, then what must be in force: "=" and a generation, "*" any record,
# "-" no record, "" any or none. If it is not, returns ["conflict", the generation in force, "" for no record].
_EXPECTED = """
local id, expected, before = ARGV[1], ARGV[2], record(ARGV[1])
local met = expected == ''
if before then
  met = met or expected == '*' or expected == '=' .. before[3]
else
  met = met or expected == '-'
end
if not met then
  return {'conflict', before and before[3] or ''}
end
"""

# ARGV: id. Returns a record or nil.
FETCH = _script(_COMMON, "return record(ARGV[1])")

# ARGV: id, expectation, address, ipv4, host, lifetime in milliseconds or nothing. Returns ["stored", generation].
# A generation is the time in microseconds, or one more than the last: it repeats neither when Redis has lost its data
# nor after a failover to a replica that had not heard of the last ones.
PUT = _script(
    _COMMON,
    _EXPECTED,
    """
local address, ipv4, host, lifetime = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local generation = before and before[3]
if not before or before[2] ~= address then
  local now, last = redis.call('TIME'), tonumber(redis.call('GET', GENERATION) or '0')
  generation = string.format('%.0f', math.max(last + 1, now[1] * 1000000 + now[2]))
  redis.call('SET', GENERATION, generation)
end
redis.call('DEL', RECORD .. id)
redis.call('HSET', RECORD .. id, 'address', address, 'generation', generation, 'ipv4', ipv4, 'host', host)
if lifetime ~= '' then redis.call('PEXPIRE', RECORD .. id, lifetime) end
redis.call('ZADD', INDEX, 0, id)
local sooner = before and lifetime ~= '' and (before[6] < 0 or tonumber(lifetime) < before[6])
if not before or before[3] ~= generation or before[4] ~= ipv4 or before[5] ~= host or sooner then announce(id) end
return {'stored', generation}
""",
)

# ARGV: id, expectation. Returns ["removed" or "absent", ""].
REMOVE = _script(
    _COMMON,
    _EXPECTED,
    """
redis.call('DEL', RECORD .. id)
redis.call('ZREM', INDEX, id)
if not before then return {'absent', ''} end
announce(id)
return {'removed', ''}
""",
)

# ARGV: id to begin after, limit. Returns records. One whose lifetime has ended leaves its id in the index until
# somebody comes by.
PAGE = _script(
    _COMMON,
    """
local limit, rows, from = tonumber(ARGV[2]), {}, '-'
if ARGV[1] ~= '' then from = '(' .. ARGV[1] end
while #rows < limit do
  local ids = redis.call('ZRANGEBYLEX', INDEX, from, '+', 'LIMIT', 0, limit - #rows)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local row = record(id)
    if row then rows[#rows + 1] = row else redis.call('ZREM', INDEX, id) end
  end
  from = '(' .. ids[#ids]
end
return rows
""",
)

# ARGV: the entry that was read last, "" for none yet; how many changes at most. Returns [the entry read last now, 1 if
# nothing between the two was missed or else 0, the ids of the entries in between, "" for one that names none].
# Entries leave the stream from its beginning, so nothing after an entry that is still there has left; neither has
# anything where nothing was and no entry can have left yet. Where something was missed the end is where to go on.
NEWS = _script(
    _COMMON,
    f"""
local from, ids = ARGV[1], {{}}
local entries = from == '' and {{}} or redis.call('XRANGE', CHANGES, from, '+', 'COUNT', ARGV[2] + 1)
local next = entries[1] and entries[1][1] == from and 2 or 1
if next == 1 and (from ~= '{START}' or redis.call('XLEN', CHANGES) >= {KEPT_CHANGES}) then
  local last = redis.call('XREVRANGE', CHANGES, '+', '-', 'COUNT', 1)[1]
  return {{last and last[1] or '{START}', 0, ids}}
end
for number = next, math.min(#entries, next + ARGV[2] - 1) do
  local fields, id = entries[number][2], ''
  for at = 1, #fields - 1, 2 do
    if fields[at] == 'id' and #fields[at + 1] <= {MAX_ID} then id = fields[at + 1] end
  end
  ids[#ids + 1], from = id, entries[number][1]
end
return {{from, 1, ids}}
""",
)
