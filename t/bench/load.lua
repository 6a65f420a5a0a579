-- For wrk: varied events, queries of 130 to 190 bytes, made before the run.
-- Arguments: path; "webdis" makes a command for webdis instead.

local thread = 0
local requests, last = {}, 0

function setup(t)
    t:set("thread", thread)
    thread = thread + 1
end

local inbound = "&inboundNumber=611800111222&callerid=61288880000"
local events = {
    { "inboundCallStart", inbound },
    { "inboundCallAnswered", inbound .. "&extension=280085" },
    { "inboundCallEnd", inbound .. "&extension=280085&duration=88&answeredDuration=77" },
    { "outboundCallStart", "&extension=280085&destination=61288880000" },
    { "outboundCallEnd", "&extension=280085&destination=61288880000&duration=88&answeredDuration=77" },
    { "ivrOption", inbound .. "&ivrOption=1" },
}

local function query(i)
    local event = events[i % #events + 1]
    local text = ("event=%s&date=2026-11-23+%02d:%02d:%02d%s&callid=%d-%d&crm_id="):format(
        event[1], i % 24, i % 60, i * 7 % 60, event[2], thread, i)

    return text .. ("c"):rep(math.max(8, 130 + i * 11 % 61 - #text))
end

function init(args)
    local path = args[1] or "/voc"

    for i = 1, 1000 do
        if args[2] == "webdis" then
            requests[i] = wrk.format("POST", "/", nil,
                path .. query(i):gsub("[/.]", "-"))
        else
            requests[i] = wrk.format("POST", path .. "?" .. query(i))
        end
    end
end

function request()
    last = last % #requests + 1
    return requests[last]
end
