# How a request may come: TLS or not, HTTP versions, connections, bodies.

use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use VocTest qw(slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;
my ($version) = `@{[ $ENV{NGINX} // 'nginx' ]} -v 2>&1` =~ m{/1\.(\d+)};
my ($listen, $http2) = $version >= 25 ? ('', 'http2 on;') : ('http2', '');

my $nginx = VocTest::Nginx->new(http => <<"END")->start;
    voc_webhook_allow 127.0.0.1;
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=8m;
    }
    server {
        listen 127.0.0.1:%%PORT%% ssl $listen;
        $http2
        %%SSL%%
        client_max_body_size 10k;
        location = /voc { voc_webhook calls; }
        location /outer { voc_webhook calls; location /outer/inner { } }
        location = /if  { voc_webhook calls; if (\$http_x_set) { set \$x 1; } }
        location = /limit { voc_webhook calls; limit_except GET { deny all; } }
        location = /rewritten { rewrite ^ /voc last; }
        location = /more { rewrite ^ /voc?crm_id=more last; }
        location = /set  { set \$args "event=nonsense"; rewrite ^ /voc last; }
        location = /error { voc_webhook calls; error_page 400 405 /page; }
        location = /page { return 200 "page"; }
        location = /handler { voc_webhook calls;
                              if (\$http_x_set) { proxy_pass http://127.0.0.1:%%PORT_OTHER%%; } }
        location = /mirrored { voc_webhook calls; mirror /mirror; }
        location = /file    { voc_webhook calls; mirror /mirror;
                              client_body_in_file_only clean; }
        location = /mirror  { internal; proxy_pass http://127.0.0.1:%%PORT_OTHER%%; }
        location = /proxied { mirror /copy; proxy_pass http://127.0.0.1:%%PORT_OTHER%%; }
        location = /copy    { internal; voc_webhook calls; }
        location = /after   { return 204; post_action /voc; }
    }
    # answers with the body it gets
    server {
        listen 127.0.0.1:%%PORT_OTHER%%;
        location / { proxy_pass http://127.0.0.1:%%PORT_SINK%%; }
    }
    log_format body '\$request_body';
    server {
        listen 127.0.0.1:%%PORT_SINK%%;
        client_body_in_single_buffer on;
        access_log %%DIR%%/bodies body;
        location /  { proxy_pass http://127.0.0.1:%%PORT_LAST%%; }
    }
    server {
        listen 127.0.0.1:%%PORT_LAST%%;
        location / { return 200 "other"; }
    }
    server {
        listen 127.0.0.1:%%PORT_PLAIN%%;
        location = /voc     { voc_webhook calls; }
        location = /off     { voc_webhook calls; voc_webhook_https off; }
        location = /scheme  { voc_webhook calls;
                              voc_webhook_scheme \$http_x_forwarded_proto; }
        location = /fixed   { voc_webhook calls; voc_webhook_scheme https; }
        location /proxy {
            voc_webhook_scheme \$http_x_forwarded_proto;
            voc_webhook_unknown_fields drop;
            location = /proxy/inner { voc_webhook calls; }
            location = /proxy/own   { voc_webhook calls; voc_webhook_scheme http;
                                      voc_webhook_unknown_fields keep; }
        }
    }
END
my $client = VocTest::Client->new(port => $nginx->port, tls => 1);
my $plain  = VocTest::Client->new(port => $nginx->port('PLAIN'));

my $sent = 0;
my $form = 'application/x-www-form-urlencoded';
my @form = (headers => ['Content-Type' => $form]);

# Each request has a callid of its own; this is the event that came of it.
sub event_of {
    my ($answer) = @_;

    return {} if $answer->{status} != 200 && diag $answer->{body};
    my @events = $redis->wait_events(++$sent);
    return $events[-1];
}

sub fresh { return query(sample('ivrOption', callid => "call$sent", @_)) }

# ---- https ---------------------------------------------------------------------

is event_of($client->post('/voc?' . fresh()))->{callid}, 'call0', 'https';
is $plain->post('/voc?' . fresh())->json->{reason}, 'https_required', 'http';
is event_of($plain->post('/off?' . fresh()))->{callid}, 'call1',
    'voc_webhook_https off';
is event_of($plain->post('/scheme?' . fresh(),
    headers => ['X-Forwarded-Proto' => 'https']))->{callid}, 'call2',
    'voc_webhook_scheme: the proxy says https';
for my $scheme ('http', '', 'https,http', 'HTTPS') {
    is $plain->post('/scheme?' . fresh(),
        headers => ['X-Forwarded-Proto' => $scheme])->json->{reason},
        'https_required', "the proxy says '$scheme'";
}
is $plain->post('/scheme?' . fresh())->json->{reason}, 'https_required',
    'the proxy says nothing';
is event_of($plain->post('/fixed?' . fresh()))->{callid}, 'call3',
    'voc_webhook_scheme https';

is event_of($plain->post('/proxy/inner?x=1&' . fresh(),
    headers => ['X-Forwarded-Proto' => 'https']))->{extra}, undef,
    'inherited: scheme and unknown fields';
$sent--;
is $plain->post('/proxy/inner?' . fresh())->json->{reason}, 'https_required',
    'and the scheme is asked';
is $plain->post('/proxy/own?' . fresh(), headers => ['X-Forwarded-Proto' => 'https'])
    ->json->{reason}, 'https_required', 'not where there is another';
$redis->cli('RPOP', 'voc:events');

# ---- HTTP versions, connections ----------------------------------------------------

is event_of($client->http2('POST', '/voc?' . fresh()))->{callid}, 'call4',
    'HTTP/2';
is event_of($client->http2('POST', '/voc?' . fresh(crm_id => undef)
    . '&ivr=#&crm_id=x'))->{crm_id}, 'x', 'HTTP/2: # is data';
is $client->http2('GET', '/voc?' . fresh())->{status}, 405, 'HTTP/2: GET';
is $client->http2('POST', '/voc?event=x')->json->{reason}, 'unknown_event',
    'HTTP/2: a problem';
is event_of($client->http2('POST', '/voc?a=b', body => fresh(),
    headers => ['Content-Type' => $form]))->{callid}, 'call6', 'HTTP/2: a form';
is $client->http2('POST', '/voc', body => 'x=' . 'y' x 20_000,
    headers => ['Content-Type' => $form])->json->{reason}, 'body_too_large',
    'HTTP/2: a large form';
is event_of($client->request('POST', '/voc?' . fresh(), version => '1.0'))
    ->{callid}, 'call7', 'HTTP/1.0';

for (1 .. 3) {
    my $socket = $client->{socket};
    is event_of($client->post('/voc?' . fresh()))->{callid},
        'call' . ($sent - 1), "keep-alive $_";
    is $client->{socket}, $socket, 'on the same connection' if $_ > 1;
}
for my $bad ("/voc?event=x", "/voc?x=%zz") {
    $client->post($bad);
    ok $client->usable, "a problem leaves the connection open";
}

$client->send(join '', map {
        'POST /voc?' . query(sample('ivrOption', callid => "pipe$_"))
            . " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    } 1 .. 20);
is join(' ', map { $client->receive->{status} } 1 .. 20),
    join(' ', (200) x 20), 'pipelining';
$sent += 20;
is_deeply [map { $_->{callid} } ($redis->wait_events($sent))[-20 .. -1]],
    [map {"pipe$_"} 1 .. 20], 'in that order';

# ---- bodies ----------------------------------------------------------------------

is event_of($client->post('/voc?' . fresh(), body => 'callid=other', @form))
    ->{callid}, 'call' . ($sent - 1),
    'a form beside an event in the query is not read';
is event_of($client->post('/voc?' . fresh(), body => '{"callid":1}'))->{callid},
    'call' . ($sent - 1), 'any body beside the query is not read';
is event_of($client->post('/voc', body => fresh(), @form))->{callid},
    'call' . ($sent - 1), 'a form alone';
is event_of($client->post('/voc?callid=fromquery',
    body => query(sample('ivrOption', callid => undef)), @form))->{callid},
    'fromquery', 'query and form together';
is event_of($client->post('/voc', body => fresh(),
    headers => ['Content-Type' => "$form; charset=utf-8"]))->{callid},
    'call' . ($sent - 1), 'a form with a charset';
is event_of($client->post('/voc', body => fresh(),
    headers => ['Content-Type' => uc $form]))->{callid}, 'call' . ($sent - 1),
    'media types have no case';
is event_of($client->post('/voc', body => fresh(crm_id => undef)
        . '&crm_id=a+b%23#', @form))->{crm_id}, 'a b##', 'decoded alike';
for my $type ('application/json', "${form}x", 'text/plain') {
    is $client->post('/voc', body => fresh(),
        headers => ['Content-Type' => $type])->json->{reason},
        'missing_event', "$type is not read";
}
is $client->post('/voc?callid=1', body => fresh(), @form)->json->{reason},
    'duplicate_field', 'a field in query and form';
is $client->post('/voc', body => 'event=ivrOption&x=%00', @form)->json->{reason},
    'malformed_query', 'a malformed form';
is $client->post('/voc', body => '', @form)->json->{reason}, 'missing_event',
    'an empty form';

# In pieces, so that nginx has to come back for the rest.
sub in_pieces {
    my ($head, @pieces) = @_;

    $client->send("POST /voc HTTP/1.1\r\nHost: x\r\nContent-Type: $form\r\n"
            . "$head\r\n\r\n");
    $client->send($_) for @pieces;
    return $client->receive;
}

my $body = fresh();
is event_of(in_pieces('Content-Length: ' . length $body,
    map { substr $body, $_ * 20, 20 } 0 .. length($body) / 20))->{callid},
    'call' . ($sent - 1), 'a form in pieces';
$body = fresh() . '&pad=' . 'p' x 9000;
is length event_of(in_pieces('Transfer-Encoding: chunked',
    (map { my $piece = substr $body, $_ * 500, 500;
        sprintf "%x\r\n%s\r\n", length $piece, $piece }
        0 .. (length($body) - 1) / 500), "0\r\n\r\n"))->{extra}{pad}, 9000,
    'a chunked form';
is event_of(in_pieces("Transfer-Encoding: chunked\r\nExpect: 100-continue",
    sprintf("%x\r\n%s\r\n0\r\n\r\n", length fresh(), fresh())))->{callid},
    'call' . ($sent - 1), 'Expect: 100-continue';
is in_pieces('Transfer-Encoding: chunked', "5000\r\n", 'x=' . 'y' x 12_000)
    ->json->{reason}, 'body_too_large', 'a large chunked form';
$client->close;
my $large = in_pieces('Content-Length: 10241');
is $large->json->{reason}, 'body_too_large', 'a large form, refused unread';
is $large->{headers}{connection}, 'close', 'what is too much is not read';
$client->close;
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $nginx->port('PLAIN'));
print {$socket} "POST /off HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    . "Content-Length: 9999999\r\n\r\n";
like scalar(<$socket>), qr{^HTTP/1.1 413 }, 'and not asked for';
is event_of($client->post('/voc?' . fresh(), body => 'x' x 10_000))->{callid},
    'call' . ($sent - 1), 'a large body beside the query is discarded';
is event_of($client->post('/voc?' . fresh()))->{callid}, 'call' . ($sent - 1),
    'and the connection goes on';

# ---- other parts of nginx --------------------------------------------------------

is event_of($client->post('/if?' . fresh(), headers => ['X-Set' => 1]))
    ->{callid}, 'call' . ($sent - 1), 'inside an if block';
is $client->post('/outer/inner?' . fresh())->{status}, 404,
    'a location inside is another';
is event_of($client->post('/outer/x?' . fresh()))->{callid},
    'call' . ($sent - 1), 'a location that is a prefix';
is $client->post('/limit?' . fresh())->{status}, 403, 'limit_except';
is event_of($client->post('/rewritten?' . fresh(crm_id => undef)
    . '&a=#&crm_id=x'))->{crm_id}, 'x', 'rewritten: # is data';
is event_of($client->post('/more?' . fresh(crm_id => undef)))->{crm_id},
    'more', 'rewritten with arguments';
is $client->post('/set?event=sense123#&' . fresh())->json->{reason},
    'unknown_event', 'arguments that were set hold, whatever was sent';
is $client->post('/error?event=x')->json->{reason}, 'unknown_event',
    'error_page leaves the answer alone';

is $client->post('/handler?' . fresh(), headers => ['X-Set' => 1])->{body},
    'other', 'an if block with a handler of its own';
is event_of($client->post('/handler?' . fresh()))->{callid},
    'call' . ($sent - 1), 'and outside of it';

# A body that others have read, or will.
sub bodies { return () = slurp($nginx->dir . '/bodies') =~ /event=/g }
my $bodies = 0;
for my $path (qw(mirrored file)) {
    is event_of($client->post("/$path", body => fresh(), @form))->{callid},
        'call' . ($sent - 1), "$path: read for the mirror already";
    ok wait_for { bodies() == $bodies + 1 }, 'which gets it, too';
    $bodies++;
}
is $client->post('/file', body => 'x=' . 'y' x 10_500, @form)->{status}, 413,
    'a large one in a file';
$bodies = bodies();
is $client->post('/proxied', body => fresh(), @form)->{body}, 'other',
    'a mirror to us';
is((($redis->wait_events(++$sent))[-1])->{callid}, 'call' . ($sent - 1), 'is an event');
ok wait_for { bodies() == $bodies + 1 }, 'and the other has the body';
$client->close;
$client->send("POST /after HTTP/1.1\r\nHost: x\r\nContent-Type: $form\r\n"
    . "Content-Length: 100\r\n\r\nabc");
is $client->receive->{status}, 204, 'a body that was discarded';
$client->close;
ok wait_for { $nginx->error_log =~ /missing_event/ }, 'has no event in it';
unlike $nginx->error_log, qr/exited on signal/, 'and does no harm';

done_testing;
