-- For wrk: POSTs the lines of a file in turn, for ever, and ends with one JSON line of counts.
-- wrk -s replay.lua URL -- BODIES
local requests, next_one = {}, 0

function init(args)
  local headers = {["Content-Type"] = "application/json"}
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, line)
  end
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_s": %.6f, "failed": %d, "p50_s": %.6f, "p95_s": %.6f, '
      .. '"p99_s": %.6f}\n',
    summary.requests, summary.duration / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e6, latency:percentile(95) / 1e6, latency:percentile(99) / 1e6))
end
