# What an operator sees of a request, and that no one else's number is in it.

use strict;
use warnings;

use Test::More;
use VocTest qw(slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;
my $nginx = VocTest::Nginx->new(http => <<"END")->start;
    log_format voc '\$status \$voc_webhook_result \$voc_webhook_event '
                   '\$voc_webhook_callid \$voc_webhook_id';
    limit_req_zone \$server_name zone=one:32k rate=1r/m;
    voc_webhook_https off;
    voc_webhook_allow 127.0.0.1;
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=64k;
    }
    server {
        listen 127.0.0.1:%%PORT%%;
        server_name here;
        access_log %%DIR%%/access.log voc;
        location = /voc     { voc_webhook calls; voc_webhook_unknown_fields reject; }
        location = /nobody  { voc_webhook calls; voc_webhook_allow 192.0.2.1; }
        location = /denied  { voc_webhook calls; deny all; }
        location = /limited { voc_webhook calls; limit_req zone=one; }
        location = /other   { return 204; }
        location = /slow    { voc_webhook calls; client_body_timeout 100ms; }
        location = /moved   { rewrite ^ /voc last; }
    }
END
my $client = VocTest::Client->new(port => $nginx->port);
my $uuid   = qr/[0-9a-f-]{36}/;

sub logged {
    my ($target, $method) = @_;

    my $before = () = slurp($nginx->dir . '/access.log') =~ /\n/g;
    $client->request($method // 'POST', $target);
    my @lines;
    wait_for { (@lines = split /\n/, slurp($nginx->dir . '/access.log')) > $before };
    return $lines[-1];
}

# The number stands in every request below.
my $number = '61299998888';
my @ivr    = sample('ivrOption', callerid => $number);

like logged('/voc?' . query(@ivr)),
    qr/^200 accepted ivrOption testcall $uuid$/, 'accepted';
like logged('/moved?' . query(@ivr)),
    qr/^200 accepted ivrOption testcall $uuid$/, 'accepted after a rewrite';
is logged('/voc?' . query(@ivr), 'GET'), '405 method_not_allowed - - -', 'GET';
is logged("/voc?callerid=$number&event=x"), '400 unknown_event - - -',
    'an unknown event';
like logged('/voc?' . query(sample('ivrOption', callerid => "${number}x"))),
    qr/^400 invalid_field ivrOption (testcall|-) -$/, 'an invalid field';
is logged('/voc?' . query(@ivr, $number => $number)),
    '400 unknown_field ivrOption testcall -', 'an unknown field';
is logged('/voc?' . query(@ivr, $number => 1, $number => 2)),
    '400 duplicate_field - - -', 'a duplicate';
is logged("/voc?callerid=$number&x=%zz"), '400 malformed_query - - -',
    'malformed';
is logged('/nobody?' . query(@ivr)), '403 address_denied - - -', 'an address';
is logged('/denied?' . query(@ivr)), '403 - - - -', "nginx's own deny";
logged('/limited?' . query(@ivr)) for 1 .. 2;
is logged('/other?' . query(@ivr)), '204 - - - -', 'another location';

# A body that does not come: nginx's own answer, and no result.
$client->send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    . "Content-Type: application/x-www-form-urlencoded\r\n\r\ncallerid=$number");
ok wait_for { slurp($nginx->dir . '/access.log') =~ /^408 - - - -$/m },
    'a body that does not come';

my $log = $nginx->error_log;
my $end = qr/, client: 127\.0\.0\.1, server: here, location: "\/voc"/;
like $log, qr/\[warn\].* voc_webhook: method_not_allowed: expected POST$end/, 'GET';
like $log, qr/\[warn\].* voc_webhook: unknown_event: .*$end/, 'an unknown event';
like $log, qr/\[warn\].* voc_webhook: invalid_field "callerid": expected .*$end/,
    'an invalid field, with its name';
like $log, qr/\[warn\].* voc_webhook: unknown_field: .*$end/,
    'an unknown field, without the name that was sent';
like $log, qr/\[error\].* voc_webhook: address_denied: .* client: 127\.0\.0\.1.*location: "\/nobody"/,
    'an address';
like $log, qr/\[error\].* access forbidden by rule, .*location: "\/denied"/,
    "nginx's own line on access";
like $log, qr/\[error\].* limiting requests, .*location: "\/limited"/,
    "nginx's own line on limits";
unlike $log, qr/$number/, 'no number in the error log';
unlike $log, qr/\?/,      'nor a query';

done_testing;
