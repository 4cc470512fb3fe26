-- For wrk: sends prepared requests in turn and compares every answer with the one that is right.
--   wrk … -s wrk.lua URL -- FILE
-- FILE returns { method, path, headers, { body, answer }, … }. The number of a request travels as X-Request-Id; where the answer
-- carries it, the answer must be that request's own, else that of any of the requests.
-- At the end one line of JSON: requests, milliseconds, and how many were not right.

local threads = {}
local requests, answers, all = {}, {}, {}
local at = 0
right, wrong, refused, sample = 0, 0, 0, ""

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local asked = dofile(args[1])
  for number, one in ipairs(asked) do
    local headers = {}
    for name, value in pairs(asked.headers) do headers[name] = value end
    local id = "b" .. number
    headers["X-Request-Id"] = id
    requests[number] = wrk.format(asked.method, asked.path, headers, one[1])
    answers[id] = one[2]
    all[one[2]] = true
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function response(status, headers, body)
  if status ~= 200 then
    refused = refused + 1
    if sample == "" then sample = status .. " " .. body:sub(1, 200) end
    return
  end
  local expected = answers[headers["x-request-id"]]
  if expected and body == expected or not expected and all[body] then
    right = right + 1
  else
    wrong = wrong + 1
    sample = body:sub(1, 200)
  end
end

function done(summary, latency, _)
  local total = { right = 0, wrong = 0, refused = 0 }
  local said = ""
  for _, thread in ipairs(threads) do
    for name in pairs(total) do total[name] = total[name] + thread:get(name) end
    if thread:get("sample") ~= "" then said = thread:get("sample") end
  end
  local errors = summary.errors
  said = said:gsub('[%c\\"]', function(c) return string.format("\\u%04x", c:byte()) end)
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,' ..
    '"right":%d,"wrong":%d,"refused":%d,"lost":%d,"late":%d,"sample":"%s"}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, total.right, total.wrong, total.refused,
    errors.connect + errors.read + errors.write, errors.timeout, said
  ))
end
