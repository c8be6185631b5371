-- The one script for wrk. Arguments after the URL are key=value:
--   host=NAME       the Host field (default: the URL's)
--   path=PATH       the request target (default: the URL's)
--   body=N          POST with a body of N octets
--   fields=N        request fields in all, Host included (default 8, as a browser's)
--   hosts=A,B,…     mixed traffic over these hosts instead of one request
--   sandboxes=N     a random one of s0 … s<N-1> per request, at port=PORT under domain=DOMAIN
-- Fields are static strings made once, so a request costs wrk next to nothing.

local BROWSER = {
   { "User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36" },
   { "Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8" },
   { "Accept-Language", "en-US,en;q=0.9" },
   { "Accept-Encoding", "gzip, deflate, br, zstd" },
   { "Referer", "https://example.com/somewhere" },
   { "Sec-Fetch-Mode", "navigate" },
   { "Cookie", "session=0123456789abcdef0123456789abcdef" },
}

local function parse(arguments)
   local options = {}
   for _, argument in ipairs(arguments) do
      local key, value = argument:match("^(%w+)=(.*)$")
      options[key] = value
   end
   return options
end

local function content(size)
   return string.rep("x", size)
end

-- What a page and its scripts ask for, each time of some sandbox: mostly small, sometimes large, some posts. Kinds are
-- dealt like cards, so that any twenty requests in a row weigh about the same.
local function mixed(hosts)
   local deck, requests = {}, {}
   for _, dealt in ipairs({ { "small", 13 }, { "medium", 4 }, { "post", 2 }, { "large", 1 } }) do
      local kind, count = unpack(dealt)
      requests[kind] = {}
      for _ = 1, count do table.insert(deck, kind) end
   end
   for host in hosts:gmatch("[^,]+") do
      wrk.headers["Host"] = host
      table.insert(requests.small, wrk.format("GET", "/"))
      table.insert(requests.medium, wrk.format("GET", "/16k"))
      table.insert(requests.post, wrk.format("POST", "/", nil, content(1024)))
      table.insert(requests.large, wrk.format("GET", "/bytes/65536"))
   end
   local left = 0
   return function()
      if left == 0 then left = #deck end
      local chosen = math.random(left)
      local kind = deck[chosen]
      deck[chosen], deck[left] = deck[left], kind
      left = left - 1
      return requests[kind][math.random(#requests[kind])]
   end
end

local function many_sandboxes(count, port, domain)
   wrk.headers["Host"] = "@"
   local before, after = wrk.format():match("^(.-)@(.*)$")
   before = before .. port .. "-s"
   after = "." .. domain .. after
   return function() return before .. math.random(0, count - 1) .. after end
end

function init(arguments)
   local options = parse(arguments)
   math.randomseed(1)  -- the same traffic for everybody
   local fields = tonumber(options.fields or 8)
   for number = 1, fields - 1 do  -- Host is one of them
      local field = BROWSER[number] or { "X-Field-" .. number, "a value of ordinary length" }
      wrk.headers[field[1]] = field[2]
   end
   wrk.path = options.path or wrk.path
   if options.body then
      wrk.method = "POST"
      wrk.body = content(tonumber(options.body))
   end
   if options.hosts then
      request = mixed(options.hosts)
   elseif options.sandboxes then
      request = many_sandboxes(tonumber(options.sandboxes), options.port, options.domain)
   else
      wrk.headers["Host"] = options.host
   end
end

function done(summary, latency, _)
   local errors = {}
   for kind, count in pairs(summary.errors) do
      if count > 0 then table.insert(errors, string.format('"%s":%d', kind, count)) end
   end
   io.write(string.format(
      '\n{"count":%d,"seconds":%f,"p50_us":%f,"p99_us":%f,"errors":{%s},"extra":{"received":%d}}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
      table.concat(errors, ","), summary.bytes))
end
