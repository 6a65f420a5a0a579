# Every answer that a sender can get, and the order of the checks.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep);
use VocTest qw(wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new;    # starts later
my $nginx = VocTest::Nginx->new(http => <<"END")->start;
    client_max_body_size 100;
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=64k;
    }
    server {
        listen 127.0.0.1:%%PORT%%;
        voc_webhook_allow 127.0.0.1;
        location = /voc    { voc_webhook calls; }
        location = /nobody { voc_webhook calls; voc_webhook_allow 192.0.2.1; }
        location = /plain  { voc_webhook calls; voc_webhook_https off; }
        location = /strict { voc_webhook calls; voc_webhook_https off;
                             voc_webhook_unknown_fields reject; }
        location = /open   { voc_webhook calls; voc_webhook_https off;
                             client_max_body_size 0; }
        location = /drop   { voc_webhook calls; voc_webhook_https off;
                             client_max_body_size 4m;
                             voc_webhook_unknown_fields drop; }
    }
    server {
        listen 127.0.0.1:%%PORT_TLS%% ssl;
        %%SSL%%
        location = /voc    { voc_webhook calls; voc_webhook_allow 127.0.0.1; }
        location = /denied { voc_webhook calls; }
    }
END
my $plain = VocTest::Client->new(port => $nginx->port);
my $tls   = VocTest::Client->new(port => $nginx->port('TLS'), tls => 1);
my $good  = query(sample('callRecordingAvailable'));

my %titles = (
    400 => 'Bad Request',
    403 => 'Forbidden',
    405 => 'Method Not Allowed',
    413 => 'Content Too Large',
    503 => 'Service Unavailable',
);

sub problem_is {
    my ($answer, $status, $reason, $field, $name) = @_;

    subtest $name => sub {
        is $answer->{status}, $status, 'status';
        is $answer->{headers}{'content-type'}, 'application/problem+json',
            'content type';
        is $answer->{headers}{'content-length'}, length $answer->{body},
            'length';
        my $problem = eval { $answer->json } // {};
        is $problem->{title},  $titles{$status}, 'title';
        is $problem->{status}, $status,          'status in the body';
        is $problem->{reason}, $reason,          'reason';
        is $problem->{field},  $field,           'field';
        ok length($problem->{detail} // ''), 'detail';
        is join(' ', sort keys %$problem),
            join(' ', sort 'title', 'status', 'reason', 'detail',
            defined $field ? 'field' : ()), 'nothing else';
        is $answer->{headers}{allow}, $status == 405 ? 'POST' : undef, 'Allow';
        is $answer->{headers}{'retry-after'}, $status == 503 ? 1 : undef,
            'Retry-After';
    };
}

# ---- one by one ------------------------------------------------------------------

my $answer = $tls->post("/voc?$good");
is $answer->{status}, 200, 'accepted';
is $answer->{headers}{'content-type'}, 'application/json', 'its type';
like $answer->{body},
    qr/\A\{"status":"accepted","id":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"\}\z/,
    'its body';
is $answer->{headers}{'content-length'}, length $answer->{body}, 'its length';

problem_is $tls->post("/denied?$good"), 403, 'address_denied', undef,
    'the default address is VOC\'s';
problem_is $plain->post("/voc?$good"), 403, 'https_required', undef, 'no https';
for my $method (qw(GET PUT DELETE OPTIONS PATCH)) {
    problem_is $tls->request($method, "/voc?$good"), 405, 'method_not_allowed',
        undef, $method;
}
$answer = $tls->request('HEAD', "/voc?$good");
is "$answer->{status} $answer->{headers}{allow}", '405 POST', 'HEAD';

problem_is $plain->post("/plain?$good", body => 'x' x 101), 413,
    'body_too_large', undef, 'a body over client_max_body_size';
is $plain->post("/plain?$good", body => 'x' x 100)->{status}, 200,
    'a body of that size';
is $plain->post("/open?$good", body => 'x' x 100_000)->{status}, 200,
    'client_max_body_size 0';

my @form = (headers => ['Content-Type' => 'application/x-www-form-urlencoded']);
problem_is $plain->post('/open', body => "$good&x=" . 'y' x 20_000, @form), 413,
    'body_too_large', undef, 'an event that no record of this journal holds';
is $plain->post('/drop', body => "$good&x=" . 'y' x 1_000_000, @form)->{status}, 200,
    'a form of nearly 1 MiB';
problem_is $plain->post('/drop', body => "$good&x=" . 'y' x 1_050_000, @form), 413,
    'body_too_large', undef, 'of more';

my %malformed = (
    'a lone %'             => "$good&x=%",
    'one digit'            => "$good&x=%4",
    'no digits'            => "$good&x=%zz",
    'in a name'            => "$good&%zz=1",
    'overlong UTF-8'       => "$good&x=%c0%af",
    'a surrogate'          => "$good&x=%ed%a0%80",
    'truncated UTF-8'      => "$good&x=%e2%82",
    'UTF-8 over two pairs' => "$good&x=%c3&%a9=1",
    'past U+10FFFF'        => "$good&x=%f4%90%80%80",
    'a raw byte'           => "$good&x=\xff",
    'NUL'                  => "$good&x=%00",
    'NUL in a name'        => "$good&a%00b=1",
    'a newline'            => "$good&x=%0a",
    'a tab'                => "$good&x=%09",
    'U+001F'               => "$good&x=%1f",
    'DEL'                  => "$good&x=%7f",
    'U+0085'               => "$good&x=%c2%85",
    'over 1024 fields'     => join('&', map {"f$_"} 1 .. 1025),
);
for my $name (sort keys %malformed) {
    problem_is $plain->post("/plain?$malformed{$name}"), 400,
        'malformed_query', undef, "malformed: $name";
}
is $plain->post("/plain?$good&x=%c2%a0")->{status}, 200, 'U+00A0 is no control';
is $plain->post("/plain?$good&x=\xc3\xa9")->{status}, 200, 'raw UTF-8';

problem_is $plain->post("/plain?$good&callid=x"), 400, 'duplicate_field',
    'callid', 'a known field twice';
problem_is $plain->post("/plain?$good&callid=testcall"), 400,
    'duplicate_field', 'callid', 'though it has the same value';
problem_is $plain->post("/plain?$good&a=1&b=2&a=1"), 400, 'duplicate_field',
    'a', 'an unknown field twice';
problem_is $plain->post("/plain?$good&event=ivrOption"), 400,
    'duplicate_field', 'event', 'event twice';
problem_is $plain->post('/plain'), 400, 'missing_event', undef, 'no query';
problem_is $plain->post('/plain?'), 400, 'missing_event', undef,
    'an empty query';
problem_is $plain->post('/plain?Event=ivrOption'), 400, 'missing_event', undef,
    'Event is not event';
for my $event ('', 'x', 'IvrOption', 'ivroption', 'ivrOption ') {
    problem_is $plain->post('/plain?' . query(event => $event)), 400,
        'unknown_event', undef, "event '$event'";
}
problem_is $plain->post('/plain?' . query(sample('ivrOption', callid => undef))),
    400, 'missing_field', 'callid', 'a field is missing';
problem_is $plain->post('/plain?' . query(sample('ivrOption', callid => ''))),
    400, 'invalid_field', 'callid', 'a field is empty';
problem_is $plain->post("/strict?$good&x=1"), 400, 'unknown_field', 'x',
    'an unknown field, rejected';

# ---- no value comes back -----------------------------------------------------------

for my $query (
    query(sample('ivrOption', ivrOption => '4477112233')),
    query(sample('ivrOption', callerid  => '4477112233x')),
    query(sample('ivrOption', event     => '4477112233')),
    query(sample('ivrOption'), x => '4477112233', x => 'y'),
    query(sample('ivrOption'), callid => '4477112233'),
    query(x => '4477112233') . '%zz',
    ) {
    unlike $plain->post("/strict?$query")->{body}, qr/4477112233/, 'no echo';
}

# ---- the order of the checks -------------------------------------------------------

# Each request is wrong in every way that comes after the one that is named.
my $all_bad = 'x=1&x=2&event=nonsense&y=%zz';
my @big     = (body => 'x' x 101);
problem_is $plain->request('GET', "/voc?$all_bad", @big), 403,
    'https_required', undef, 'https before method';
problem_is $tls->request('GET', "/denied?$all_bad", @big), 403,
    'address_denied', undef, 'address before method';
problem_is $plain->request('GET', "/nobody?$all_bad", @big), 403,
    'address_denied', undef, 'address before https';
problem_is $plain->request('GET', "/plain?$all_bad", @big), 405,
    'method_not_allowed', undef, 'method before body';
problem_is $plain->post("/plain?$all_bad", @big), 413, 'body_too_large', undef,
    'body before query';
problem_is $plain->post("/plain?$all_bad"), 400, 'malformed_query', undef,
    'query before fields';
problem_is $plain->post('/plain?x=1&x=2&event=nonsense'), 400,
    'duplicate_field', 'x', 'duplicates before event';
problem_is $plain->post('/plain?x=1&x=2'), 400, 'duplicate_field', 'x',
    'duplicates before the missing event';
problem_is $plain->post('/strict?event=nonsense&x=1'), 400, 'unknown_event',
    undef, 'event before fields';
problem_is $plain->post('/strict?' . query(sample('ivrOption', date => undef,
    callid => '', z => 1))), 400, 'missing_field', 'date',
    'fields in their order: date';
problem_is $plain->post('/strict?' . query(sample('ivrOption', date => 'x',
    callid => undef, z => 1))), 400, 'invalid_field', 'date',
    'and the first decides';
problem_is $plain->post('/strict?' . query(sample('ivrOption',
    ivrOption => 'x', z => 1))), 400, 'invalid_field', 'ivrOption',
    'fields before unknown fields';

# ---- a full journal ----------------------------------------------------------------

$nginx->expect_log(qr/\[crit\].*the journal is full/);
my ($accepted, $full) = (0, undef);
for (1 .. 1000) {
    $full = $plain->post("/plain?$good");
    last if $full->{status} != 200;
    $accepted++;
}
problem_is $full, 503, 'queue_full', undef, 'the journal is full';
cmp_ok $accepted, '>', 50, 'after some events';
problem_is $plain->post('/plain?event=x'), 400, 'unknown_event', undef,
    'which is the last check';

problem_is $plain->post("/plain?$good"), 503, 'queue_full', undef, 'still';
is scalar(() = $nginx->error_log =~ /is full|queue_full/g), 1, 'logged once';
$redis->start;
ok wait_for { $plain->post("/plain?$good")->{status} == 200 },
    'accepted again once Redis takes them';
ok wait_for { sleep 0.1; $plain->post("/plain?$good"); $nginx->error_log =~ /accepted again/ },
    'which is said';

done_testing;
