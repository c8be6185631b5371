-- The one script for wrk. Arguments after the URL are key=value:
--   host=NAME       the Host field (default: the URL's)
--   path=PATH       the request target (default: the URL's)
--   body=N          POST with a body of N octets
--   fields=N        request fields in all, Host included (default 16, as Chromium's for a script)
--   unlike=WHAT     no two in a row of CYCLE have the same head: requests, answers, or both
--   hosts=A,B,…     mixed traffic over these hosts, unlike=both, instead of one request
--   sandboxes=N     a random one of s0 … s<N-1> per request, at port=PORT under domain=DOMAIN
-- Requests are static strings made once, so one costs wrk next to nothing. bench.load.browser has the same over HTTP/2.

local CYCLE = 8192
local BROWSER = {
   { "User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36" },
   { "Accept", "*/*" },
   { "Accept-Language", "en-US,en;q=0.9" },
   { "Accept-Encoding", "gzip, deflate, br, zstd" },
   { "Referer", "https://example.com/src/pages/0123456789ab.html" },
   { "Sec-Fetch-Mode", "cors" },
   { "Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark" },
   { "Sec-Ch-Ua", '"Chromium";v="150", "Not_A Brand";v="24"' },
   { "Sec-Ch-Ua-Mobile", "?0" },
   { "Sec-Ch-Ua-Platform", '"Linux"' },
   { "Sec-Fetch-Site", "same-origin" },
   { "Sec-Fetch-Dest", "script" },
   { "If-None-Match", 'W/"0123456789abcdef"' },
   { "Cache-Control", "max-age=0" },
   { "Priority", "u=1, i" },
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

local function hexadecimal(digits)
   local parts = {}
   for number = 1, digits / 4 do parts[number] = string.format("%04x", math.random(0, 65535)) end
   return table.concat(parts)
end

-- A request whose referrer, cookie and entity tag no other has.
local function unlike_others(host, method, path, body)
   local fields = {}
   for name, value in pairs(wrk.headers) do fields[name] = value end
   fields["Host"] = host
   fields["Referer"] = "https://" .. host .. "/src/pages/" .. hexadecimal(12) .. ".html"
   fields["Cookie"] = "session=" .. hexadecimal(32) .. "; theme=dark"
   fields["If-None-Match"] = 'W/"' .. hexadecimal(16) .. '"'
   return wrk.format(method, path, fields, body)
end

-- Every answer below /own has a head of its own, which is no matter of the request's path.
local PATHS = {
   requests = function(number) return "/?module=" .. number end,
   both = function(number) return "/own/33/" .. number .. "/module.js" end,
}

local function cycle(host, what)
   local requests, last = {}, 0
   for number = 1, CYCLE do requests[number] = unlike_others(host, "GET", PATHS[what](number)) end
   return function()
      last = last % CYCLE + 1
      return requests[last]
   end
end

-- What a page and its scripts ask for, each time of some sandbox: mostly small, sometimes large, some posts. Kinds are
-- dealt like cards, so that any twenty requests in a row weigh about the same.
local function mixed(names)
   local hosts, deck, requests = {}, {}, {}
   for host in names:gmatch("[^,]+") do table.insert(hosts, host) end
   local kinds = { { "/own/33/", 13 }, { "/own/16384/", 4 }, { "/own/33/", 2, 1024 }, { "/own/65536/", 1 } }
   for kind, dealt in ipairs(kinds) do
      local path, count, octets = unpack(dealt)
      requests[kind] = {}
      for _ = 1, count do table.insert(deck, kind) end
      for number = 1, CYCLE / 20 * count do
         local host = hosts[math.random(#hosts)]
         local method, body = octets and "POST" or "GET", octets and content(octets)
         table.insert(requests[kind], unlike_others(host, method, path .. number, body))
      end
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
   local fields = tonumber(options.fields or 16)
   for number = 1, fields - 1 do  -- Host is one of them
      local field = BROWSER[number] or { "X-Field-" .. number, "a value of ordinary length" }
      wrk.headers[field[1]] = field[2]
   end
   wrk.path = options.path or (options.unlike == "answers" and "/own/33/module.js") or wrk.path
   if options.body then
      wrk.method = "POST"
      wrk.body = content(tonumber(options.body))
   end
   if options.hosts then
      request = mixed(options.hosts)
   elseif PATHS[options.unlike] then
      request = cycle(options.host, options.unlike)
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
