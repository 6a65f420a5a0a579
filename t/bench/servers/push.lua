-- The query as a JSON string onto a list: before the answer (now), or by a
-- timer from a shared dictionary (later), which loses what it holds when nginx
-- ends.

local cjson = require "cjson"

local push = {}
local waiting = false    -- a timer is set in this worker

local function event()
    local args = ngx.req.get_uri_args()

    args.received = ngx.now()
    return cjson.encode(args)
end

local function answer(status)
    ngx.status = status
    ngx.header.content_type = "application/json"
    ngx.print('{"status":"accepted"}')
end

-- A connection of the pool, one RPUSH of all items, its answer.
local function rpush(key, items)
    local socket = ngx.socket.tcp()
    local out = { "*", #items + 2, "\r\n$5\r\nRPUSH\r\n$", #key, "\r\n", key, "\r\n" }

    for _, item in ipairs(items) do
        out[#out + 1] = "$" .. #item .. "\r\n"
        out[#out + 1] = item
        out[#out + 1] = "\r\n"
    end
    local line = socket:connect("127.0.0.1", push.port)
        and socket:send(out) and socket:receive()
    if not line or line:sub(1, 1) ~= ":" then return false end
    return socket:setkeepalive(60000, 128)
end

function push.now()
    answer(rpush("voc:wait", { event() }) and 200 or 500)
end

local function flush()
    local dict = ngx.shared.events

    repeat
        local items = {}
        while #items < 1000 do
            local item = dict:lpop("queue")
            if not item then break end
            items[#items + 1] = item
        end
        if #items > 0 and not rpush("voc:timer", items) then
            ngx.log(ngx.ERR, "lost ", #items)
        end
    until ngx.shared.events:llen("queue") == 0
    waiting = false
end

function push.later()
    local good = ngx.shared.events:rpush("queue", event())

    if not waiting then waiting = ngx.timer.at(0.01, flush) end
    answer(good and 200 or 503)
end

return push
